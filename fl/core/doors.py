"""What a model that comes in a run's config may make this process import or execute.

A config arrives from somebody else, so each way in is shut unless the process was told otherwise, as a daemon is by
the `[allow]` table of its TOML. Whoever builds a model from objects of their own needs no door.
"""

import importlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from fl.core.registry import configure
from fl.errors import ConfigError

logger = logging.getLogger(__name__)

OURS: Final = "fl.examples.*:*"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Doors:
    """Which factories configs may name here, and whether they may bring a pickle."""

    factories: tuple[str, ...] = ()
    """Paths "package.module:function", or patterns of them with `*`, as "mylab.nets:*" is.

    A pattern with `*` opens only what the module itself defines, so that nothing it happens to import can be called.
    """
    pickle: bool = False
    """Loading a pickle executes whatever its author wrote into it."""

    def __post_init__(self) -> None:
        for pattern in self.factories:
            if not _PATH.fullmatch(pattern.replace("*", "_")):
                raise ConfigError(f'[allow] factories: {pattern!r} is not of the form "package.module:function"')

    def admits(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.factories)


@dataclass(slots=True)
class _Process:
    doors: Doors


_process = _Process(Doors(factories=(OURS,)))


def set_doors(doors: Doors) -> None:
    """Say what configs may do in this process; what was said before no longer counts."""
    _process.doors = doors


def get_doors() -> Doors:
    """What was set last; in a process that never set any, the factories of our own examples alone."""
    return _process.doors


def open_factory(path: str) -> Callable[..., Any]:
    """The function that a config names. Raises `ConfigError` with the line that would allow it, and imports nothing."""
    doors = get_doors()
    _check_form(path)
    if not doors.admits(path):
        raise ConfigError(
            f"the factory {path} is not allowed at this site; if you trust it, add to client.toml:\n"
            f"[allow]\nfactories = [{json.dumps(path)}]"
        )
    factory = import_factory(path)
    module = path.partition(":")[0]
    if path not in doors.factories and getattr(factory, "__module__", None) != module:
        raise ConfigError(
            f"the factory {path} is only imported by {module}, and a pattern allows what a module defines itself; "
            f"if you trust it, add to client.toml:\n[allow]\nfactories = [{json.dumps(path)}]"
        )
    return factory


def build_from_factory(path: str, kwargs: Mapping[str, Any]) -> Any:
    """What the factory that a config names makes of its arguments. Raises `ConfigError`, and whatever it raises."""
    return configure(open_factory(path), kwargs)


def import_factory(path: str) -> Callable[..., Any]:
    """The function at "package.module:function", for somebody who may name any. Raises `ConfigError`."""
    _check_form(path)
    module, _, name = path.partition(":")
    try:
        factory: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ConfigError(f"factory {path}: no module {error.name!r} is installed here") from error
    if not callable(factory):
        raise ConfigError(f"factory {path}: module {module} has no function {name!r}")
    return factory


def admit_pickle(what: str) -> None:
    """Note that a pickle is about to be loaded. Raises `ConfigError` where the process does not allow it."""
    if not get_doors().pickle:
        raise ConfigError(
            f"{what} comes as a pickle, which would execute whatever its sender wrote into it, and that is not allowed "
            "at this site; if you trust everybody who may submit runs, add to client.toml:\n[allow]\npickle = true"
        )
    logger.warning("pickle_loaded what=%s", what)


def _check_form(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise ConfigError(f'factory {path!r} is not of the form "package.module:function"')
