"""Configuration that people write: frozen, checked once at the edge, and errors that name the nearest known key."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from fl.core.registry import nearest
from fl.errors import ConfigError

_BUILD_PARTS = "build_parts"


class Config(BaseModel):
    """Base of everything read from TOML, JSON or keyword arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        known = sorted(field.alias or name for name, field in cls.model_fields.items())
        if isinstance(data, dict):
            for key in data:
                if key not in known:
                    raise ValueError(unknown_key(str(key), known))
        return data

    @classmethod
    def parse(cls, data: Any, source: str, *, build_parts: bool = True) -> Self:
        """Validate `data`; raises `ConfigError` naming `source`, the key and what would be right.

        `build_parts`: also build what is named in it, such as optimizer modules, so that a mistake in its options
        shows where it was made. Whoever is sent a config may lack a plug-in that it names, and must read it still.
        """
        try:
            return cls.model_validate(data, context={_BUILD_PARTS: build_parts})
        except ValidationError as error:
            raise ConfigError(explain(error, source)) from None

    @classmethod
    def from_params(cls, **params: Any) -> Self:
        """Build from keyword arguments. Raises `ConfigError`."""
        return cls.parse(params, cls.__name__)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build from a table of such keyword arguments. Raises `ConfigError`."""
        return cls.parse(dict(config), cls.__name__)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Build from a TOML file. Raises `ConfigError`."""
        return cls.parse(read_toml(path), str(path))


def builds_parts(info: ValidationInfo) -> bool:
    """For validators: whether parts that are named shall be built too."""
    return bool(info.context and info.context[_BUILD_PARTS])


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `ConfigError` where it is missing or not TOML."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def unknown_key(key: str, known: list[str]) -> str:
    """A sentence that refuses `key` and names the nearest known one."""
    return f"unknown key {key!r}; {nearest(key, known)}"


def explain(error: ValidationError, source: str) -> str:
    """Every problem on a line of its own: where, what, and what was given."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "top level"
        message = item["msg"].removeprefix("Value error, ")
        shown = "" if item["type"] in {"value_error", "missing"} else f" (got {item['input']!r})"
        lines.append(f"{source}: {where}: {message}{shown}")
    return "\n".join(lines)
