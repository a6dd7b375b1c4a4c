"""Models, one module a framework: `sklearn`, `torch`, `tensorflow`; `api` is what they promise."""

import importlib
from types import ModuleType

from fl.core.model.api import Model

__all__ = ["Model"]

_MODULES = ("api", "sklearn", "tensorflow", "torch")


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"fl.model.{name}")
    raise AttributeError(f"module 'fl.model' has no attribute {name!r}")
