"""Models, one module a framework: `fl.model.sklearn`."""

import importlib
from types import ModuleType

from fl.core.model.api import Model

__all__ = ["Model"]

_FRAMEWORKS = ("sklearn",)


def __getattr__(name: str) -> ModuleType:
    if name in _FRAMEWORKS:
        return importlib.import_module(f"fl.model.{name}")
    raise AttributeError(f"module 'fl.model' has no attribute {name!r}")
