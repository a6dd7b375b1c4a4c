"""The k largest floats by size, exactly, and without a copy of all of them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from fl.core.compression.cells import CELL
from fl.core.vector import Array

SAMPLE: Final = 1 << 16
"""Floats that are looked at to guess where the cut is."""


class Cut(NamedTuple):
    """Where the k largest end: all ranks above `rank` are kept, and the first `n_ties` of those that have it."""

    rank: int
    n_ties: int


def largest(values: Array, k: int) -> Iterator[tuple[int, Array]]:
    """The places of the `k` values with the largest size, where two have the same, the first one's.

    Cell by cell: where the cell starts, and the places in it, ascending. NaN counts as larger than infinity.
    """
    rank, ties_left = cut_for(values, k)
    for start in range(0, values.size, CELL):
        ranks = _ranks(values[start : start + CELL])
        tied = np.flatnonzero(ranks == rank)[:ties_left]
        ties_left -= tied.size
        kept = ranks > rank
        kept[tied] = True
        yield start, np.flatnonzero(kept)


def cut_for(values: Array, k: int) -> Cut:
    """For `k` from 1 to the number of values.

    A sample says between which ranks the cut is, nearly surely; one pass over the values counts those above, and
    gathers those between. If the sample has misled, the same with wider bounds. Chance has no part in the result.
    """
    drawn = values if values.size <= SAMPLE else values[np.random.default_rng(0).integers(0, values.size, SAMPLE)]
    sample = np.sort(_ranks(drawn))[::-1]
    expected = k * sample.size / values.size
    slack = 4 + 4 * int(np.sqrt(expected))  # of standard deviations
    while True:
        low, high = _at(sample, int(expected) + slack), _at(sample, int(expected) - slack)
        cut = _cut_between(values, k, low=low, high=high)
        if cut is not None:
            return cut
        slack *= 8


def _cut_between(values: Array, k: int, *, low: int, high: int) -> Cut | None:
    """None where the cut is at no rank from `low` to `high`."""
    above = at_high = at_low = 0
    gathered = []
    for start in range(0, values.size, CELL):
        ranks = _ranks(values[start : start + CELL])
        above += int(np.count_nonzero(ranks > high))
        near = ranks[(ranks >= low) & (ranks <= high)]
        at_high += int(np.count_nonzero(near == high))
        at_low += int(np.count_nonzero(near == low))
        gathered.append(near[(near > low) & (near < high)])
    between = np.concatenate(gathered)
    if above < k <= above + at_high:
        return Cut(high, k - above)
    wanted = k - above - at_high
    if 0 < wanted <= between.size:
        rank = np.partition(between, between.size - wanted)[between.size - wanted]
        return Cut(int(rank), wanted - int(np.count_nonzero(between > rank)))
    wanted -= between.size
    return Cut(low, wanted) if low < high and 0 < wanted <= at_low else None


def _at(descending: Array, place: int) -> int:
    """Beyond its ends, a rank that nothing is above, or below."""
    if place < 0:
        return int(np.iinfo(descending.dtype).max)
    return int(descending[place]) if place < descending.size else 0


def _ranks(values: Array) -> Array:
    """Integers in the order of the values' sizes: their bits without the sign."""
    bits = values.view(f"i{values.itemsize}")
    return bits & np.iinfo(bits.dtype).max
