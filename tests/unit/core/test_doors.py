"""What a config may import or execute."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl.core import doors
from fl.core.doors import (
    Doors,
    admit_pickle,
    build_from_factory,
    get_doors,
    import_factory,
    open_factory,
    set_doors,
)
from fl.errors import ConfigError

MODULE = """\
from os import getcwd

def make(width=3):
    return [0.0] * width
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A laboratory's package, installed, and doors as a new process has them."""
    (tmp_path / "somelab").mkdir()
    (tmp_path / "somelab" / "nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doors, "_process", doors._Process(get_doors()))
    yield
    for name in ("somelab.nets", "somelab"):
        sys.modules.pop(name, None)


def test_a_new_process_admits_our_examples_alone() -> None:
    assert get_doors().admits("fl.examples.digits.net:make")
    assert not get_doors().admits("fl.core.doors:set_doors")


def test_a_factory_that_is_not_allowed_is_not_even_imported() -> None:
    with pytest.raises(ConfigError, match=r"somelab.nets:make is not allowed"):
        open_factory("somelab.nets:make")
    assert "somelab.nets" not in sys.modules


def test_the_refusal_says_which_line_would_allow_the_factory() -> None:
    with pytest.raises(ConfigError, match=r'\[allow\]\nfactories = \["somelab.nets:make"\]'):
        open_factory("somelab.nets:make")


@pytest.mark.parametrize("pattern", ["somelab.nets:make", "somelab.nets:*", "somelab.*:*"])
def test_an_allowed_factory_is_called_with_its_arguments(pattern: str) -> None:
    set_doors(Doors(factories=(pattern,)))
    assert build_from_factory("somelab.nets:make", {"width": 2}) == [0.0, 0.0]


@pytest.mark.parametrize("pattern", ["somelab.net:*", "somelab.nets:m", "nets:*", "somelab:*"])
def test_a_pattern_admits_whole_names_only(pattern: str) -> None:
    assert not Doors(factories=(pattern,)).admits("somelab.nets:make")


def test_a_pattern_does_not_open_what_a_module_happens_to_import() -> None:
    set_doors(Doors(factories=("somelab.nets:*",)))
    with pytest.raises(ConfigError, match=r"getcwd is only imported by somelab.nets"):
        open_factory("somelab.nets:getcwd")


def test_what_a_module_imports_may_be_named_in_full() -> None:
    set_doors(Doors(factories=("somelab.nets:getcwd",)))
    assert build_from_factory("somelab.nets:getcwd", {}) == str(Path.cwd())


def test_an_unknown_argument_of_a_factory_is_named() -> None:
    set_doors(Doors(factories=("somelab.nets:make",)))
    with pytest.raises(ConfigError, match="make: unknown option 'widht'; did you mean 'width'"):
        build_from_factory("somelab.nets:make", {"widht": 2})


def test_a_factory_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="no module 'otherlab' is installed here"):
        import_factory("otherlab:make")


def test_a_function_that_a_module_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"module somelab.nets has no function 'build'"):
        import_factory("somelab.nets:build")


@pytest.mark.parametrize("path", ["somelab.nets", "somelab.nets:make.__globals__", "somelab/nets:make", ":make", "a:"])
def test_a_path_of_another_form_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="not of the form"):
        open_factory(path)


def test_a_pattern_of_another_form_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[allow\] factories: 'somelab.nets' is not of the form"):
        Doors(factories=("somelab.nets",))


def test_a_pickle_is_refused_with_the_line_that_would_allow_it() -> None:
    with pytest.raises(ConfigError, match=r"\[allow\]\npickle = true"):
        admit_pickle("the model")


def test_a_pickle_that_is_allowed_is_warned_about_each_time(caplog: pytest.LogCaptureFixture) -> None:
    set_doors(Doors(pickle=True))
    for _ in range(2):
        admit_pickle("the model")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
