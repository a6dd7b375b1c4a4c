"""What people install: the wheel, in an environment of its own, far from the source tree."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """An environment with the wheel in it; what it depends on is borrowed from the one that runs the tests."""
    folder = wheel.parent / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # A path file may name a folder, whose own path files are then not read: so our editable install stays behind.
    (site_packages(folder) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command without the environment's Python settings; fail with all it printed."""
    done = subprocess.run(
        command, cwd=cwd, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def site_packages(environment: Path) -> Path:
    (folder,) = environment.glob("lib/python3*/site-packages")
    return folder


def source_files() -> set[str]:
    """Every file of the two packages, compiled bytecode aside."""
    files = (path for package in ("broker", "fl") for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_two_packages_and_no_other(wheel: Path) -> None:
    # Given what the wheel holds beside its own description
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    # Then it is the packages as they are in the source tree: no tests, no top-level `proto`
    assert names == source_files()


@pytest.mark.parametrize(
    "name", ["fl/examples/data/heart_disease_uci.csv", "fl/wire/messages_pb2.pyi", "fl/py.typed", "broker/py.typed"]
)
def test_the_wheel_holds_what_is_not_python(wheel: Path, name: str) -> None:
    assert name in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE"])
def test_the_wheel_carries_licence_and_notice(wheel: Path, name: str) -> None:
    (path,) = (entry for entry in zipfile.ZipFile(wheel).namelist() if entry.endswith(f"/licenses/{name}"))
    assert zipfile.ZipFile(wheel).read(path) == (ROOT / name).read_bytes()


@pytest.mark.parametrize("package", ["fl", "broker"])
def test_an_installed_package_is_imported_from_where_it_was_installed(
    installed: Path, tmp_path: Path, package: str
) -> None:
    # When a process that stands elsewhere imports it
    found = run(installed / "bin" / "python", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path)

    # Then it is the installed one
    assert Path(found.strip()) == site_packages(installed) / package / "__init__.py"


def test_the_installed_command_says_what_it_can_do(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "bin" / "fluffle", "--help", cwd=tmp_path)
    assert "client" in shown
    assert "server" in shown
