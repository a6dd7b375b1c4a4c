"""Functions that make models: how a config names one, and where the model's loss then comes from.

{"factory": "mylab.nets:cnn", "kwargs": {"width": 8}}                  a function that returns (model, loss)
{"factory": "mylab.nets:cnn", "kwargs": {"width": 8}, "loss": ...}     one that returns a model alone
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from fl.core.doors import build_from_factory, import_factory
from fl.core.registry import configure
from fl.errors import ConfigError, ModelError


@dataclass(frozen=True, slots=True)
class Factory:
    """The function at "package.module:function", and its arguments, as JSON carries them to every site.

    Raises `ConfigError` for arguments that JSON cannot carry.
    """

    path: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = field(default=False, compare=False)
    """Whether whoever runs this process named it in a program of their own, so that no door is asked."""

    def __post_init__(self) -> None:
        try:
            carried = json.loads(json.dumps(dict(self.kwargs), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"factory {self.path}: its arguments travel as JSON, which cannot: {error}") from None
        object.__setattr__(self, "kwargs", carried)

    def call(self) -> tuple[Any, Any]:
        """What it makes: a model, and its loss or None. Raises `ConfigError` where it is not allowed or installed."""
        if self.trusted:
            made = configure(import_factory(self.path), self.kwargs)
        else:
            made = build_from_factory(self.path, self.kwargs)
        return made if isinstance(made, tuple) and len(made) == 2 else (made, None)

    def choose_loss(self, given: Any, made: Any) -> Any:
        """The one loss there is. Raises `ModelError` for none and for two."""
        if (given is None) == (made is None):
            found = "no loss" if made is None else "two losses"
            raise ModelError(f"factory {self.path}: {found}: give `loss`, or let the factory return (model, loss)")
        return made if given is None else given

    def to_config(self) -> dict[str, Any]:
        return {"factory": self.path, "kwargs": deepcopy(self.kwargs)}


def factory_in(kind: str, described: tuple[str, Any], factory: str | None, kwargs: Any) -> Factory | None:
    """The factory of a config that has either one or a description, which is given with its option's name.

    `kind` is the model's name. Raises `ModelError` for both and for neither, `ConfigError` for arguments of nothing.
    """
    option, description = described
    if (factory is None) == (description is None):
        found = "neither" if factory is None else "both"
        raise ModelError(f"{kind}: a model is given by {option!r} or by 'factory', and here are {found}: give one")
    if factory is None and kwargs is not None:
        raise ConfigError(f"{kind}: 'kwargs' are arguments of a factory, and none is named: give 'factory'")
    return None if factory is None else Factory(factory, kwargs or {})
