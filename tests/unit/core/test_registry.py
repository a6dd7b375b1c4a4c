"""Registration: by definition, by name, by plug-in; and what people are told when a name is wrong."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import pytest

from fl.core import registry as module
from fl.core.aggregator import Aggregator, AveragingAggregator
from fl.core.registry import Registered, Registry
from fl.errors import ConfigError


class Shape(Registered, register=False):
    registry: ClassVar[Registry["Shape"]] = Registry(
        "shape", {"averaging": "fl.core.aggregator.averaging:AveragingAggregator"}
    )


class Circle(Shape):
    name = "circle"

    def __init__(self, radius: float = 1.0) -> None:
        self.radius = radius


class Square(Shape, name="square"):
    def __init__(self, side: float) -> None:
        self.side = side


def built_circle(spec: object) -> Circle:
    built = Shape.registry.build(spec)
    assert isinstance(built, Circle)
    return built


@pytest.fixture
def plugins() -> Iterator[None]:
    module.load_plugins.cache_clear()
    yield
    module.load_plugins.cache_clear()


def test_defining_a_class_registers_it() -> None:
    assert Shape.registry.get("circle") is Circle
    assert Shape.registry.get("square") is Square


def test_a_class_may_opt_out() -> None:
    class Hidden(Shape, register=False):
        name = "hidden"

    with pytest.raises(ConfigError, match="unknown shape 'hidden'"):
        Shape.registry.get("hidden")


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown shape 'cirle'; did you mean 'circle'\?"):
        Shape.registry.get("cirle")


def test_a_name_far_from_all_is_answered_with_the_list() -> None:
    with pytest.raises(ConfigError, match="known here: averaging, circle, square"):
        Shape.registry.get("zzz")


def test_two_classes_of_one_name_are_an_error_that_names_both() -> None:
    with pytest.raises(ConfigError, match=r"test_registry:Circle already, and .*Other wants the name"):

        class Other(Shape):
            name = "circle"


def test_a_built_in_name_is_taken_before_its_class_is_imported() -> None:
    with pytest.raises(ConfigError, match="averaging:AveragingAggregator already"):

        class Mine(Shape):
            name = "averaging"


def test_a_class_defined_again_takes_the_place_of_the_older() -> None:
    def cell() -> type[Shape]:
        class Triangle(Shape, name="triangle"):
            pass

        return Triangle

    cell()
    second = cell()
    assert Shape.registry.get("triangle") is second


def test_a_class_without_a_name_of_its_own_must_opt_out() -> None:
    with pytest.raises(TypeError, match="has no name"):

        class Ellipse(Circle):
            pass


@pytest.mark.parametrize("spec", [("circle", {"radius": 2.0}), ["circle", {"radius": 2.0}], Circle(2.0)])
def test_a_part_is_built_from_an_instance_or_a_pair(spec: object) -> None:
    assert built_circle(spec).radius == 2.0


@pytest.mark.parametrize("spec", [{"name": "circle", "radius": 2.0}, {"name": "circle", "config": {"radius": 2.0}}])
def test_a_part_is_built_from_a_table(spec: object) -> None:
    assert built_circle(spec).radius == 2.0


def test_a_part_is_built_from_its_name() -> None:
    assert built_circle("circle").radius == 1.0


@pytest.mark.parametrize("spec", [3, ("circle",), {"radius": 1.0}, AveragingAggregator()])
def test_what_is_no_description_of_a_part_is_refused(spec: object) -> None:
    with pytest.raises(ConfigError, match="give an instance, a name or"):
        Shape.registry.build(spec)


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"circle: unknown option 'radios'; did you mean 'radius'\?"):
        Shape.registry.build(("circle", {"radios": 2.0}))


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match="square: option 'side' is missing"):
        Shape.registry.build("square")


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_of_another_package_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Given an installed distribution with an entry point
    source = (
        "from fl.core.aggregator import AveragingAggregator\nclass Theirs(AveragingAggregator):\n    name = 'theirs'\n"
    )
    (tmp_path / "their_package.py").write_text(source)
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fluffle.plugins]\ntheirs = their_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    # When its name is looked up, then its module is imported
    assert Aggregator.registry.get("theirs").__module__ == "their_package"


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_that_fails_is_named_when_a_name_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = metadata.EntryPoint("theirs", "no_such_package", module.PLUGIN_GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [broken])
    with pytest.raises(ConfigError, match=r"plug-in theirs \(no_such_package\) failed to load: ModuleNotFoundError"):
        Aggregator.registry.get("missing")


def test_a_built_in_part_is_imported_only_when_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from fl.core.registry import Registry\n"
        "registry = Registry('aggregator', {'averaging': 'fl.core.aggregator.averaging:AveragingAggregator'})\n"
        "assert 'fl.core.aggregator' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
