"""Specs as people write them, and what is said of those that make no sense."""

from typing import Any

import pytest

from fl.errors import ConfigError
from fl.run.spec import RunSpec

TABLES: dict[str, Any] = {
    "model": {"kind": "none"},
    "optim": {"client_opt": 0.1},
    "run": {"rounds": 1, "training": {"batch_size": 8}},
}


def written(place: str, value: Any) -> dict[str, Any]:
    """The tables with `value` at a dotted place."""
    head, _, rest = place.partition(".")

    def put(table: Any, head: str, rest: str) -> dict[str, Any]:
        head_of_rest, _, tail = rest.partition(".")
        inner = put(table.get(head, {}), head_of_rest, tail) if rest else value
        return {**table, head: inner}

    return put(TABLES, head, rest)


def refusal(tables: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        RunSpec.parse(tables, "run.toml")
    return str(caught.value)
