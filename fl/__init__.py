"""Fluffle: federated learning over RabbitMQ.

`import fl` gives every public name below; what a name needs is imported when it is first used.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_PUBLIC = ("aggregator", "communication", "data_info", "dataset", "main", "metrics", "model", "optimizer", "utils")


def __getattr__(name: str) -> ModuleType:
    if name in _PUBLIC:
        return importlib.import_module(f"fl.{name}")
    raise AttributeError(f"module 'fl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
