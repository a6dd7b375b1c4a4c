"""Registration: by definition, by name, by plug-in; and what people are told when a name is wrong."""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
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
    with pytest.raises(ConfigError, match=r"known here: averaging, .*circle, .*square"):
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


@pytest.mark.parametrize("missing", ["circel", "zzz"])
def test_a_wrong_name_may_be_one_of_a_package_that_is_not_installed(missing: str) -> None:
    with pytest.raises(ConfigError, match=r"\(if another package brings it, install that here\)"):
        Shape.registry.get(missing)


def test_what_a_constructor_refuses_is_said_with_the_name_of_the_part() -> None:
    class Strict(Shape, name="strict"):
        def __init__(self, corners: int) -> None:
            self.corners = range(corners)

    with pytest.raises(ConfigError, match=r"strict: its options are refused: 'str' object cannot"):
        Shape.registry.build(("strict", {"corners": "three"}))


def test_options_that_are_kept_under_their_names_are_the_config() -> None:
    assert Circle(2.0).get_config() == {"radius": 2.0}


def test_an_option_that_would_be_lost_on_the_way_is_an_error() -> None:
    class Forgetful(Shape, name="forgetful"):
        def __init__(self, corners: int) -> None:
            self._n = corners

    with pytest.raises(TypeError, match=r"Forgetful keeps no attribute 'corners': write a get_config"):
        Forgetful(3).get_config()


def test_a_class_that_lacks_a_method_is_refused_by_that_methods_name() -> None:
    class Unfinished(Shape, ABC, name="unfinished"):
        @abstractmethod
        def area(self) -> float: ...

    with pytest.raises(ConfigError, match=r"shape 'unfinished' is unfinished: .*Unfinished does not define area"):
        Shape.registry.get("unfinished")


# ---- plug-ins of other packages --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A folder on the path in which packages are installed, as pip would leave them."""

    folder: Path

    def install(self, name: str, source: str) -> None:
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (self.folder / f"{name}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{module.PLUGIN_GROUP}]\n{name} = {name}\n")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Elsewhere]:
    module.load_plugins.cache_clear()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Elsewhere(tmp_path)
    module.load_plugins.cache_clear()


def shape(class_name: str, name: str) -> str:
    """The source of a module that adds to the kind of this file."""
    return f"from {__name__} import Shape\nclass {class_name}(Shape):\n    name = '{name}'\n"


def test_a_plug_in_of_another_package_is_found_by_its_name(elsewhere: Elsewhere) -> None:
    elsewhere.install("their_package", shape("Theirs", "theirs"))

    assert Shape.registry.get("theirs").__module__ == "their_package"


def test_a_plug_in_that_fails_is_named_with_its_package_when_a_name_is_missing(elsewhere: Elsewhere) -> None:
    elsewhere.install("broken_package", "import no_such_package")

    with pytest.raises(
        ConfigError,
        match=r"plug-in broken_package \(broken_package\) of broken_package 1.0 failed to load: ModuleNotFoundError",
    ):
        Shape.registry.get("missing")


def test_a_plug_in_that_fails_takes_no_names_from_others(elsewhere: Elsewhere) -> None:
    elsewhere.install("a_broken_package", "raise RuntimeError")
    elsewhere.install("sound_package", shape("Sound", "sound"))
    elsewhere.install("z_broken_package", "raise RuntimeError")

    assert Shape.registry.get("sound").__module__ == "sound_package"


def test_a_name_of_two_plug_ins_is_nobodys_and_the_error_names_both(elsewhere: Elsewhere) -> None:
    elsewhere.install("one_package", shape("One", "disputed"))
    elsewhere.install("other_package", shape("Other", "disputed"))

    for _ in range(2):  # also when it is asked for again
        with pytest.raises(ConfigError, match=r"two packages bring one name, uninstall one of them") as caught:
            Shape.registry.get("disputed")

    assert "one_package:One" in str(caught.value)
    assert "other_package:Other" in str(caught.value)


def test_a_plug_in_cannot_take_a_built_in_name(elsewhere: Elsewhere) -> None:
    source = "from fl.core.aggregator import Aggregator\nclass Greedy(Aggregator):\n    name = 'averaging'\n"
    elsewhere.install("greedy_package", source)

    with pytest.raises(ConfigError, match=r"greedy_package:Greedy wants the name too"):
        Aggregator.registry.get("missing")

    assert Aggregator.registry.get("averaging") is AveragingAggregator


def test_a_built_in_part_is_imported_only_when_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from fl.core.registry import Registry\n"
        "registry = Registry('aggregator', {'averaging': 'fl.core.aggregator.averaging:AveragingAggregator'})\n"
        "assert 'fl.core.aggregator' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
