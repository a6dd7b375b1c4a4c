"""Packages of others: where a part comes from, and what is told where one is missing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl.core import registry, requires
from fl.core.aggregator import Aggregator, AveragingAggregator
from fl.core.requires import missing, package_of

SOURCE = (
    "from fl.core.aggregator import AveragingAggregator\nclass Theirs(AveragingAggregator, name={name!r}):\n    pass\n"
)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder where packages count as installed."""
    registry.load_plugins.cache_clear()
    requires.distributions.cache_clear()  # what is installed changes only in tests
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    registry.load_plugins.cache_clear()
    requires.distributions.cache_clear()  # likewise


def a_package(folder: Path, name: str, version: str = "1.2", *, entry_point: bool = True) -> None:
    """A distribution with a module of its name, which defines the aggregator `name`."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(SOURCE.format(name=name))
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{module}\n")
    if entry_point:
        (info / "entry_points.txt").write_text(f"[fluffle.plugins]\ntheirs = {module}\n")


def test_our_own_parts_come_from_no_package_of_others() -> None:
    assert package_of(AveragingAggregator) is None


def test_a_script_s_own_parts_come_from_no_package() -> None:
    # Given
    theirs = type("Theirs", (), {"__module__": "__main__"})
    # Then
    assert package_of(theirs) is None


@pytest.mark.parametrize("entry_point", [True, False])
def test_a_part_of_a_package_names_it_and_its_version(install: Path, entry_point: bool) -> None:
    # Given
    name = f"requires-test-{entry_point}".lower()
    a_package(install, name, entry_point=entry_point)
    if not entry_point:
        __import__(name.replace("-", "_"))
    # When
    found = package_of(Aggregator.registry.get(name))
    # Then
    assert found == (name, "1.2")
    sys.modules.pop(name.replace("-", "_"))


@pytest.mark.parametrize("version", ["1.2", "1.2.0", "1.1.9", "1", "0.9rc1", "1.2rc1"])
def test_a_package_of_that_version_or_a_newer_one_is_not_missing(install: Path, version: str) -> None:
    # Given
    a_package(install, "fluffle-more", "1.2")
    # Then
    assert missing({"fluffle-more": version}) is None


@pytest.mark.parametrize("version", ["1.2.1", "1.10", "2"])
def test_an_older_package_is_to_be_upgraded(install: Path, version: str) -> None:
    # Given
    a_package(install, "fluffle-more", "1.2")
    # When
    text = missing({"fluffle-more": version})
    # Then
    told = f"this run needs fluffle-more {version}, and 1.2 is installed here"
    assert text == f"{told}: pip install --upgrade fluffle-more"


def test_every_package_that_is_not_there_is_to_be_installed() -> None:
    # When
    text = missing({"no-such-one": "1.2", "no-such-other": "3"})
    # Then
    one, other = ("this run needs no-such-one 1.2: pip install no-such-one", "this run needs no-such-other 3")
    assert text == f"{one}; {other}: pip install no-such-other"


def test_nothing_required_is_nothing_missing() -> None:
    assert missing({}) is None
