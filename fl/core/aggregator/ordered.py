"""Robust aggregation coordinate by coordinate: medians and trimmed means (Yin et al. 2018)."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from fl.core.aggregator.gathered import GatheringAggregator
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError

WORKSPACE = 1 << 20
"""Elements sorted at a time, over all clients."""
SHORTEST = 1 << 10
"""Coordinates handled at a time at least, since each costs a copy per client."""


class OrderedAggregator(GatheringAggregator, register=False):
    """A function of each coordinate's values in ascending order. No copy of the updates is made, only of a part."""

    @abstractmethod
    def reduce(self, ascending: Array) -> Array:
        """One value a row, in float64; rows are coordinates, of shape (coordinates, clients)."""

    def combine(self, updates: Sequence[NumpyVector]) -> NumpyVector:
        result = NumpyVector.zeros(updates[0].layout)
        length = max(SHORTEST, WORKSPACE // len(updates))
        rows = np.empty((length, len(updates)), result.flat.dtype)
        for start in range(0, result.flat.size, length):
            part = slice(start, min(start + length, result.flat.size))
            values = rows[: part.stop - part.start]
            for column, update in enumerate(updates):
                values[:, column] = update.flat[part]
            values.sort(axis=1)
            result.flat[part] = self.reduce(values)
        return result


class MedianAggregator(OrderedAggregator):
    """The median of each coordinate; of an even number of clients, the mean of the two in the middle.

    Yin et al. 2018, definition 1: less than half of the clients being hostile, each coordinate lies between the
    smallest and the largest value of the others.
    """

    name = "median"

    def reduce(self, ascending: Array) -> Array:
        clients = ascending.shape[1]
        return np.asarray(ascending[:, [(clients - 1) // 2, clients // 2]].mean(axis=1, dtype=np.float64))


class TrimmedMeanAggregator(OrderedAggregator):
    """The mean of each coordinate without its ⌊beta·clients⌋ smallest and as many largest values.

    Yin et al. 2018, definition 2, with `beta` in [0, 1/2) at least the share of hostile clients. Fewer than 1/beta
    clients leave nothing to trim: it is then a plain mean.
    """

    name = "trimmed-mean"

    def __init__(self, beta: float) -> None:
        self.beta = beta
        if not 0 <= beta < 0.5:
            raise ConfigError(f"{self.name}: beta is {beta}: use the share to cut at each end, from 0 to below 0.5")

    def get_config(self) -> dict[str, Any]:
        return {"beta": self.beta}

    def reduce(self, ascending: Array) -> Array:
        clients = ascending.shape[1]
        # as written: 0.29 of 100 clients are 29, where floats make it 28.999999999999996
        trimmed = math.floor(Fraction(str(self.beta)) * clients)
        return np.asarray(ascending[:, trimmed : clients - trimmed].mean(axis=1, dtype=np.float64))
