"""So many clients, or such a part of them."""

import math
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator

from fl.errors import ConfigError


def as_share(value: Any) -> int | float:
    """The value itself. Raises `ConfigError` unless it is a share."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    part = isinstance(value, float) and 0 < value <= 1
    if not (whole or part):
        raise ConfigError(f"use a number of clients, or a part of them above 0.0 and up to 1.0, not {value!r}")
    share: int | float = value
    return share


Share = Annotated[int | float, BeforeValidator(as_share)]
"""An int is a number of clients, a float a part of them: 1 is one client, 1.0 is all."""


def count(share: float, of: int) -> int:
    """How many clients a share of `of` clients is: a part is rounded up, a number stays what it is."""
    if isinstance(share, int):
        return share
    return math.ceil(Fraction(repr(share)) * of)  # 0.1 of 30 is 3: the decimal that was written, not the binary near it
