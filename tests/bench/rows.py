"""What is measured: weights of so many bytes, for so many clients."""

import math
import re
from dataclasses import dataclass, replace
from typing import Final, Self

_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)\s*x\s*(\d+)")
_SMALL_BYTES: Final = 1_000_000
_FEW_ROUNDS: Final = 5
"""Enough for a median, and for those who take seconds."""
_MORE_ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One size of weights, in bytes of float32, and one number of clients."""

    n_bytes: int
    n_clients: int
    n_rounds: int
    """Rounds that count; there is one before them that does not."""

    @classmethod
    def of(cls, megabytes: float, n_clients: int) -> Self:
        n_bytes = round(megabytes * 1e6)
        return cls(n_bytes, n_clients, _MORE_ROUNDS if n_bytes <= _SMALL_BYTES else _FEW_ROUNDS)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "10x2": megabytes and clients. Raises `ValueError`."""
        found = _FORM.fullmatch(text.strip())
        if found is None or not float(found[1]) or not int(found[2]):
            raise ValueError(f"{text!r} is no row: write megabytes and clients, as in 0.1x2 or 10x8")
        return cls.of(float(found[1]), int(found[2]))

    @property
    def label(self) -> str:
        return f"{self.n_bytes / 1e6:g} MB x {self.n_clients}"

    def shortened(self) -> Self:
        """The same for somebody whose rounds take a second or more, whatever the weights."""
        return replace(self, n_rounds=min(self.n_rounds, _FEW_ROUNDS))

    @property
    def limit_s(self) -> float:
        """Longer than any contestant should take, from its start to its end, on a busy machine."""
        return 200.0 + self.n_rounds * self.n_clients * math.ceil(self.n_bytes / 5e6)


DEFAULT: Final = "0.1x2, 10x2, 10x8, 100x2"


def parse_rows(text: str, *, most_mb: float = math.inf) -> list[Row]:
    """Read rows that commas separate, less those of larger weights. Raises `ValueError`."""
    rows = [Row.parse(part) for part in text.split(",")]
    return [row for row in rows if row.n_bytes <= most_mb * 1e6]
