"""Whoever submits a run wrote what it names: their own process may build the model that sites must be told to allow."""

from collections.abc import Iterator
from typing import Any

from fl.core.doors import Doors, get_doors, set_doors
from fl.run.spec import ModelConfig


def trust_own(model: ModelConfig) -> None:
    """Let this process import the factory, or load the pickle, of a model that its own user brings."""
    doors = get_doors()
    named = tuple(str(value) for key, value in _entries(model.config) if key == "factory" and value is not None)
    pickled = any(key == "pickle" for key, _ in _entries(model.config))
    set_doors(Doors((*doors.factories, *named), pickle=doors.pickle or pickled))


def _entries(table: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(table, dict):
        for key, value in table.items():
            yield key, value
            yield from _entries(value)
