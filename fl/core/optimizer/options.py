"""Checks of the numbers that plug-ins are made with."""

import math
from numbers import Real
from typing import Any

from fl.errors import ConfigError


def at_least(owner: str, minimum: float, **options: Any) -> None:
    """Raise `ConfigError` naming the first option that is no finite number of at least `minimum`."""
    for name, value in options.items():
        if not _is_finite(value) or value < minimum:
            raise ConfigError(f"{owner}: {name} is {value!r}: use a number of at least {minimum:g}")


def above_zero(owner: str, **options: Any) -> None:
    """Raise `ConfigError` naming the first option that is no finite number above 0."""
    for name, value in options.items():
        if not _is_finite(value) or value <= 0:
            raise ConfigError(f"{owner}: {name} is {value!r}: use a number above 0")


def decay(owner: str, **options: Any) -> None:
    """Raise `ConfigError` naming the first option that is no rate of decay: a number from 0 to below 1."""
    for name, value in options.items():
        if not _is_finite(value) or not 0 <= value < 1:
            raise ConfigError(f"{owner}: {name} is {value!r}: use a number from 0 to below 1")


def counts(owner: str, minimum: int, **options: Any) -> None:
    """Raise `ConfigError` naming the first option that is no whole number of at least `minimum`."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ConfigError(f"{owner}: {name} is {value!r}: use a whole number of at least {minimum}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
