"""Configs in the forms that scripts give them in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from fl.run.config import Config

C = TypeVar("C", bound=Config)


def coerce(kind: type[C], value: C | Mapping[str, Any] | str | Path) -> C:
    """A config from itself, a table, or the path of a TOML file. Raises `ConfigError`."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str | Path):
        return kind.from_toml(value)
    return kind.parse(value, kind.__name__)
