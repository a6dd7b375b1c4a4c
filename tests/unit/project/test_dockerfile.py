"""The container file: what it copies is there, and what runs in the end is no root and, in workers, no framework.

It reads the file; building it takes a container engine, which tests do without.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.project import kustomize

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Stage:
    """One `FROM … AS …` with the instructions below it, as (name, rest of the line)."""

    name: str
    parent: str
    instructions: tuple[tuple[str, str], ...]

    def last(self, instruction: str) -> str:
        return [rest for name, rest in self.instructions if name == instruction][-1]

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == instruction]


def parse(text: str) -> dict[str, Stage]:
    """The stages of a container file by name, in order; each `FROM` must have a name."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    instructions = [tuple(line.split(maxsplit=1)) for line in "\n".join(lines).replace("\\\n", " ").splitlines()]
    stages: dict[str, Stage] = {}
    for name, rest in instructions:
        if name == "FROM":
            parent, _, current = rest.split()
            stages[current] = Stage(current, parent, ())
        else:
            stage = stages[current]
            stages[current] = Stage(current, stage.parent, (*stage.instructions, (name, rest)))
    return stages


STAGES = parse((ROOT / "k8s" / "Dockerfile").read_text())
FROM_CONTEXT = [
    word
    for stage in STAGES.values()
    for line in stage.all("COPY")
    if not line.startswith("--from=")
    for word in shlex.split(line)[:-1]
]


@pytest.mark.parametrize("name", FROM_CONTEXT)
def test_what_the_build_copies_is_in_its_context(name: str) -> None:
    # Given that .dockerignore leaves everything out but what it lists
    ignored, *listed = (
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    )
    assert ignored == "*"

    # Then what is copied is listed and exists
    assert f"!{name}" in listed
    assert (ROOT / name).exists()


def test_every_stage_builds_on_python_or_on_a_stage_before_it() -> None:
    before = ["python:3.11-slim"]
    for stage in STAGES.values():
        sources = [line.split()[0].removeprefix("--from=") for line in stage.all("COPY") if line.startswith("--from=")]
        assert {stage.parent, *sources} <= set(before)
        before.append(stage.name)


@pytest.mark.parametrize(
    ("name", "kind", "workload"),
    [("worker", "Deployment", "fluffle-server"), ("client", "StatefulSet", "fluffle-client")],
)
def test_an_image_runs_as_the_user_that_its_manifest_names(name: str, kind: str, workload: str) -> None:
    # Given the manifest that runs the image
    objects = {(item["kind"], item["metadata"]["name"]): item for item in kustomize.build(ROOT / "k8s" / "base")}
    own = objects[kind, workload]["spec"]["template"]["spec"]["securityContext"]

    # Then both name the same user and group, as numbers, so that runAsNonRoot can be checked
    assert STAGES[name].last("USER") == f"{own['runAsUser']}:{own['runAsGroup']}"


def test_a_workers_image_installs_no_extra() -> None:
    assert [line for line in STAGES["worker"].all("RUN") if "[" in line] == []


def test_a_clients_image_adds_scikit_learn_to_a_workers() -> None:
    assert STAGES["client"].parent == "worker"
    assert any("[sklearn]" in line for line in STAGES["client"].all("RUN"))


def test_no_image_keeps_pips_cache() -> None:
    pip = [line for stage in STAGES.values() for line in stage.all("RUN") if line.startswith("pip ")]
    assert len(pip) == 3
    assert [line for line in pip if "--no-cache-dir" not in line] == []


def test_an_image_starts_fluffle_with_its_own_command() -> None:
    assert json.loads(STAGES["worker"].last("ENTRYPOINT")) == ["fluffle"]
    assert json.loads(STAGES["worker"].last("CMD")) == ["server"]
    assert json.loads(STAGES["client"].last("CMD")) == ["client", "/etc/fluffle/client.toml"]
