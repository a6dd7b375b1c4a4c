"""The project's own tools: make's targets, pinned versions, and hooks that fetch nothing."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_by_make() -> list[Requirement]:
    """What `pip install '.[dev]'` asks for, with the extras that `dev` itself names."""
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *extras["dev"]]]
    nested = [
        extra for requirement in wanted if requirement.name == PROJECT["name"] for extra in sorted(requirement.extras)
    ]
    wanted += [Requirement(text) for extra in nested for text in extras[extra]]
    return [requirement for requirement in wanted if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", installed_by_make(), ids=lambda requirement: requirement.name)
def test_a_requirement_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    pins = {canonical(name): version for name, version in PINS.items()}
    assert requirement.specifier.contains(pins[canonical(requirement.name)])


def test_make_without_a_target_says_what_there_is() -> None:
    # Given the targets that people are told of, and the file that defines them
    promised = {"demo", "test", "lint", "proto", "clean", "help"}

    # When make is asked for nothing in particular
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    # Then every target has its line
    assert promised <= set(re.findall(r"^ +make ([a-z-]+) +\S", shown, re.MULTILINE))


def test_the_demo_asks_for_rabbitmq_only_when_told_to_use_it() -> None:
    def plan(*arguments: str) -> str:
        command = ["make", "--dry-run", "--always-make", "demo", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "need-rabbitmq" not in plan()
    assert "need-rabbitmq" in plan("BROKER=1")


def test_a_python_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path) -> None:
    # Given an interpreter that says it does not fit
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    # When make would set up with it
    found = subprocess.run([".ci/find-python", old], cwd=ROOT, capture_output=True, text=True, check=False)

    # Then it fails, naming that interpreter and a remedy
    assert found.returncode == 1
    assert str(old) in found.stderr
    assert "apt-get install python3" in found.stderr


def test_hooks_come_from_this_repository_only() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}


def test_each_hook_is_a_step_of_make_lint() -> None:
    # Given the hooks, and what make would run
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"].split(" --")[0] for repo in config["repos"] for hook in repo["hooks"]]
    plan = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    # Then each hook is one of make's steps
    steps = [entry.removeprefix("make ") for entry in hooks]
    assert [step for step in steps if step not in plan] == []
