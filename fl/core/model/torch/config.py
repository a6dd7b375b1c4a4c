"""How a module or a loss is written in a config: by its factory, by its structure, or as a pickle."""

import base64
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fl.core.model.doors import admit_pickle, build_from_factory, import_factory
from fl.core.model.torch.structure import build_structure, describe_structure
from fl.core.registry import configure
from fl.errors import ConfigError, ModelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that gives a module, or a module and its loss, and its arguments."""

    path: str
    kwargs: Mapping[str, Any]

    def __post_init__(self) -> None:
        try:
            json.dumps(self.kwargs, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"factory {self.path}: its arguments travel as JSON, which cannot: {error}") from None

    def call(self, *, trusted: bool) -> tuple[nn.Module, nn.Module | None]:
        """Trusted is who names a factory in a program of their own. Raises `ConfigError`, or `ModelError`."""
        build = configure(import_factory(self.path), self.kwargs) if trusted else self._by_door()
        module, loss = build if isinstance(build, tuple) and len(build) == 2 else (build, None)
        if not isinstance(module, nn.Module):
            raise ModelError(f"factory {self.path} gave {type(module).__name__} where a torch.nn.Module is needed")
        return module, loss

    def _by_door(self) -> Any:
        return build_from_factory(self.path, self.kwargs)

    def to_config(self) -> dict[str, Any]:
        return {"factory": self.path, "kwargs": dict(self.kwargs)}


def factory_in(config: Mapping[str, Any]) -> Factory | None:
    """The factory that a config names, if it names one. Raises `ConfigError`."""
    return configure(_factory, config) if "factory" in config else None


def _factory(factory: str, kwargs: Mapping[str, Any] | None = None) -> Factory:
    return Factory(factory, kwargs or {})


def describe(module: nn.Module, what: str, *, pickles: bool) -> dict[str, Any]:
    """A module's structure, else its pickle where that is wanted. Raises `ModelError`."""
    try:
        return describe_structure(module)
    except ModelError as error:
        if not pickles:
            raise ModelError(
                f"{what} has no description that could travel: {error}. Give TorchModel.from_factory a function that "
                "makes it, or, where every site trusts you, allow_pickle=True"
            ) from None
    logger.warning("pickle_written what=%s", what)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    return {"pickle": base64.b64encode(buffer.getvalue()).decode()}


def build(config: Mapping[str, Any], what: str) -> nn.Module:
    """What `describe` described. Raises `ConfigError` for what the site does not allow, else `ModelError`."""
    if "pickle" not in config:
        return build_structure(config)
    admit_pickle(what)
    try:
        module = torch.load(io.BytesIO(base64.b64decode(config["pickle"])), map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise anything
        raise ModelError(f"{what} comes as a pickle that cannot be loaded here: {error!r}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{what} comes as a pickle of {type(module).__name__}, not of a torch.nn.Module")
    return module
