"""Robust aggregation by choosing whom to trust: Krum and Multi-Krum (Blanchard et al. 2017)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fl.core.aggregator.gathered import GatheringAggregator
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError

WORKSPACE = 1 << 17
"""Float64 elements handled at a time, over all clients: 1 MiB, which stays in a cache."""


class MultiKrumAggregator(GatheringAggregator):
    """The mean of the `m` updates that lie closest to others, of which `f` may be hostile.

    Blanchard et al. 2017, section 4: with n clients, an update's score is Σ ‖u_i - u_j‖² over its n - f - 2 nearest
    others; the `m` of smallest score are chosen, those of equal score in the order of the clients' names. It needs
    n >= 2f + 3 clients, and n >= m + f so that the hostile ones can be left out. Time is O(n²·model).
    """

    name = "multi-krum"

    def __init__(self, f: int, m: int) -> None:
        self.f = _count(self.name, "f", f, least=0)
        self.m = _count(self.name, "m", m, least=1)

    def get_config(self) -> dict[str, Any]:
        return {"f": self.f, "m": self.m}

    @property
    def min_updates(self) -> int:
        return max(2 * self.f + 3, self.m + self.f)

    def combine(self, updates: Sequence[NumpyVector]) -> NumpyVector:
        scores = krum_scores(squared_distances(updates), self.f)
        chosen = np.argsort(scores, kind="stable")[: self.m]
        total = np.zeros(updates[0].layout.float_size, np.float64)
        for index in chosen:
            total += updates[index].flat
        mean = NumpyVector.zeros(updates[0].layout)
        np.divide(total, len(chosen), out=mean.flat)
        return mean


class KrumAggregator(MultiKrumAggregator):
    """The one update that lies closest to others, of which `f` may be hostile: Multi-Krum with m = 1."""

    name = "krum"

    def __init__(self, f: int) -> None:
        super().__init__(f, m=1)

    def get_config(self) -> dict[str, Any]:
        return {"f": self.f}


def squared_distances(updates: Sequence[NumpyVector]) -> Array:
    """‖u_i - u_j‖² in float64, of shape (clients, clients).

    From differences: ‖u_i‖² + ‖u_j‖² - 2·u_i·u_j is faster, and loses all digits beside one huge update.
    """
    clients, size = len(updates), updates[0].layout.float_size
    distances = np.zeros((clients, clients))
    length = max(1, WORKSPACE // clients)
    values = np.empty((clients, length))
    for start in range(0, size, length):
        part = slice(start, min(start + length, size))
        rows = values[:, : part.stop - part.start]
        for row, update in zip(rows, updates, strict=True):
            row[...] = update.flat[part]
        with np.errstate(over="ignore"):  # an infinite distance is as far away as it should be
            for i in range(clients - 1):
                distances[i, i + 1 :] += np.square(rows[i + 1 :] - rows[i]).sum(axis=1)
    return distances + distances.T


def krum_scores(distances: Array, f: int) -> Array:
    """Σ over each client's n - f - 2 nearest others of the squared distance."""
    clients = len(distances)
    others = distances[~np.eye(clients, dtype=bool)].reshape(clients, clients - 1)
    return np.asarray(np.sort(others, axis=1)[:, : clients - f - 2].sum(axis=1))


def _count(name: str, option: str, value: int, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name}: {option} is {value!r}: use a whole number of at least {least}")
    return value
