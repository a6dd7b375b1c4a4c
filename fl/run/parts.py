"""Parts of a run by name and options, in the forms that people write them in."""

from typing import Any

from pydantic import Field

from fl.run.config import Config


class Plugin(Config):
    """A named part and its options."""

    name: str
    config: dict[str, Any] = Field(default_factory=dict)


def as_plugin(value: Any) -> Any:
    """Accept a name, a `(name, config)` pair, a table with its name inside, or an object that knows its config."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, list | tuple) and len(value) == 2:
        return {"name": value[0], "config": value[1]}
    if isinstance(value, dict) and "name" in value and "config" not in value:
        return {"name": value["name"], "config": {key: item for key, item in value.items() if key != "name"}}
    if hasattr(value, "get_config"):
        return {"name": value.name, "config": value.get_config()}
    return value


def written(value: Any) -> Any:
    """A part as JSON carries it: `[name, config]` in the place of an object, anything else as it is."""
    return [value.name, value.get_config()] if hasattr(value, "get_config") else value


def name_of(value: Any) -> str:
    """The name of a part that is written in any of these forms."""
    plugin = as_plugin(value)
    return str(plugin["name"] if isinstance(plugin, dict) else plugin)
