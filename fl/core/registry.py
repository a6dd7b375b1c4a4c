"""Names for the kinds of parts people may add: models, optimizer modules, aggregators, metrics, datasets.

A part registers itself when its class is defined:

    class Adam(OptiModule):
        name = "adam"

A built-in one is imported when its name is first looked up. Packages of third parties are found through the entry
point group `fluffle.plugins`: each entry names a module, or a class in it, whose import registers what it defines.
"""

import difflib
import importlib
import importlib.metadata
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from fl.errors import ConfigError, FluffleError

logger = logging.getLogger(__name__)
T = TypeVar("T", bound="Registered")
P = TypeVar("P")

PLUGIN_GROUP = "fluffle.plugins"


class NameTaken(ConfigError):
    """Two classes want one name."""

    def __init__(self, text: str, *, registry: "Registry[Any]", name: str) -> None:
        super().__init__(text)
        self.registry = registry
        self.name = name


class Registry(Generic[T]):
    """Classes of one kind by name."""

    def __init__(self, kind: str, builtins: Mapping[str, str]) -> None:
        self.kind = kind
        self._builtins = dict(builtins)
        self._classes: dict[str, type[T]] = {}
        self._disputed: dict[str, str] = {}

    def add(self, name: str, cls: type[T]) -> None:
        """Raises `NameTaken` naming both classes when another one has the name.

        The same class defined again, as a notebook's cell does, takes the place of the older one.
        """
        owner = _path(self._classes[name]) if name in self._classes else self._builtins.get(name, _path(cls))
        if owner != _path(cls):
            raise NameTaken(
                f"{self.kind} {name!r} is {owner} already, and {_path(cls)} wants the name too: "
                "rename it, or define it with register=False",
                registry=self,
                name=name,
            )
        self._classes[name] = cls

    def dispute(self, name: str, between: str) -> None:
        """Give the name to nobody from now on, since which of two plug-ins has it depends on chance.

        A built-in one keeps its name, whoever wants it.
        """
        if name not in self._builtins:
            self._disputed[name] = between

    def get(self, name: str) -> type[T]:
        """The class of that name. Raises `ConfigError` naming the nearest known names, or what is wrong with it."""
        if name not in self._classes and name in self._builtins:
            importlib.import_module(self._builtins[name].partition(":")[0])
        failures = load_plugins() if name not in self._classes else ()
        if name not in self._classes:
            broken = "".join(f"; plug-in {failure}" for failure in failures)
            raise ConfigError(
                f"unknown {self.kind} {name!r}; {nearest(name, self.names())} "
                f"(if another package brings it, install that here){broken}"
            )
        if name in self._disputed:
            raise ConfigError(f"two packages bring one name, uninstall one of them: {self._disputed[name]}")
        cls = self._classes[name]
        lacking = sorted(getattr(cls, "__abstractmethods__", ()))  # not known yet when a class registers
        if lacking:
            raise ConfigError(f"{self.kind} {name!r} is unfinished: {_path(cls)} does not define {', '.join(lacking)}")
        return cls

    def is_builtin(self, name: str) -> bool:
        """Whether the part of that name is one of ours."""
        return name in self._builtins

    def names(self) -> list[str]:
        """Every name known so far: the built-in ones and those of classes that are defined."""
        return sorted({*self._builtins, *self._classes})

    def build(self, spec: Any) -> T:
        """An instance from itself, a name, a `(name, config)` pair, or a table with the name under "name".

        Raises `ConfigError`.
        """
        if isinstance(spec, Registered) and getattr(type(spec), "registry", None) is self:
            return cast("T", spec)
        if isinstance(spec, str):
            return self.get(spec).from_config({})
        if isinstance(spec, Sequence) and len(spec) == 2 and isinstance(spec[1], Mapping):
            return self.get(spec[0]).from_config(spec[1])
        if isinstance(spec, Mapping) and "name" in spec:
            options = {key: value for key, value in spec.items() if key != "name"}
            return self.get(spec["name"]).from_config(options["config"] if set(options) == {"config"} else options)
        raise ConfigError(f"{self.kind}: give an instance, a name or (name, config), not {spec!r}")


class Registered:
    """Base of every kind: a class with a name of its own registers when it is defined.

    `name` is given in the class body or as `class X(Kind, name="x")`; `register=False` opts out, as abstract classes
    do. A class without a name of its own that does not opt out is a `TypeError`.
    """

    name: ClassVar[str]
    registry: ClassVar[Registry[Any]]

    def __init_subclass__(cls, *, name: str | None = None, register: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.name = name
        if register:
            if not isinstance(cls.__dict__.get("name"), str):
                raise TypeError(f'{_path(cls)} has no name: write name = "..." in it, or register=False')
            cls.registry.add(cls.name, cls)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build from what `get_config` gave. Raises `ConfigError` naming an unknown or missing option."""
        return configure(cls, config)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as values JSON can carry: attributes of their names, unless overridden.

        Raises `TypeError` where there is no such attribute: an option that did not travel would be lost in silence.
        """
        build: Callable[..., Any] = type(self)
        options = options_of(build)
        lost = [key for key in options if not hasattr(self, key)]
        if lost:
            raise TypeError(f"{_path(type(self))} keeps no attribute {lost[0]!r}: write a get_config that returns it")
        return {key: getattr(self, key) for key in options}


def configure(build: Callable[..., P], config: Mapping[str, Any]) -> P:
    """Call `build` with the options of `config`, or raise `ConfigError` saying what does not fit."""
    what = _name_of(build)
    options = options_of(build)
    for key in config:
        if key not in options:
            raise ConfigError(f"{what}: unknown option {key!r}; {nearest(key, options)}")
    for key, parameter in options.items():
        if parameter.default is inspect.Parameter.empty and key not in config:
            raise ConfigError(f"{what}: option {key!r} is missing")
    try:
        return build(**config)
    except FluffleError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: its options are refused: {error}") from error


@lru_cache(maxsize=1024)
def options_of(build: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What may be given to `build` by name."""
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    parameters = inspect.signature(build).parameters
    return MappingProxyType({key: parameter for key, parameter in parameters.items() if parameter.kind in named})


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say to someone who wrote `name` where only `known` names are right."""
    near = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(item) for item in near)}?"
    return f"known here: {', '.join(sorted(known)) or 'none'}"


@cache
def load_plugins() -> tuple[str, ...]:
    """Import the plug-ins of all installed packages, once; returns what went wrong with those that failed."""
    failures = []
    for entry in importlib.metadata.entry_points(group=PLUGIN_GROUP):
        try:
            entry.load()
        except Exception as error:  # foreign code: one broken package must not take the others' names away
            failures.append(f"{entry.name} ({entry.value}){_origin(entry)} failed to load: {error!r}")
            detailed = logger.isEnabledFor(logging.DEBUG)  # a traceback is for its author
            logger.warning("plugin_failed reason=%r", failures[-1], exc_info=detailed)
            if isinstance(error, NameTaken):
                error.registry.dispute(error.name, str(error))
    return tuple(failures)


def _origin(entry: importlib.metadata.EntryPoint) -> str:
    return "" if entry.dist is None else f" of {entry.dist.name} {entry.dist.version}"


def _name_of(build: Callable[..., Any]) -> str:
    """The name of the part that is built, also where a class method of it builds; else the function's own."""
    part = getattr(build, "__self__", build)
    name = getattr(part, "name", None) if isinstance(part, type) else None
    return str(name or getattr(build, "__name__", repr(build)))


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
