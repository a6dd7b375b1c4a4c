"""Weighted averaging: FedAvg and its kin (McMahan et al. 2017)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fl.core.aggregator.api import Aggregator
from fl.core.layout import Layout, check_same
from fl.core.mergeable import WeightedSum
from fl.core.vector import NumpyVector, Vector, chunks
from fl.errors import ConfigError


class Averaging(Aggregator):
    """Σ weight_i·update_i / Σ weight_i, with weight_i = n_steps_i · client_weights.get(client_i, 1).

    With `steps_weighted=False` every client counts as one step. With `samples_weighted=True` its number of samples
    takes the place of its number of steps, as in FedAvg's paper.
    """

    name = "averaging"

    def __init__(
        self,
        steps_weighted: bool = True,
        client_weights: Mapping[str, float] | None = None,
        samples_weighted: bool = False,
    ) -> None:
        self.steps_weighted = steps_weighted
        self.client_weights = dict(client_weights or {})
        self.samples_weighted = samples_weighted
        for client, weight in self.client_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"averaging: the weight of client {client!r} is {weight}: use a number >= 0")

    def get_config(self) -> dict[str, Any]:
        return {
            "steps_weighted": self.steps_weighted,
            "client_weights": dict(self.client_weights),
            "samples_weighted": self.samples_weighted,
        }

    def weight(self, *, client: str, n_steps: int, n_samples: int) -> float:
        """How much a client counts; a client without steps has done nothing and counts for nothing."""
        if n_steps == 0:
            return 0.0
        work = n_samples if self.samples_weighted else n_steps if self.steps_weighted else 1
        return float(work * self.client_weights.get(client, 1.0))

    def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> WeightedSum:
        values = update.to_numpy()
        fold = AveragingFold(self, values.layout)
        fold.add(values, client=client, n_steps=n_steps, n_samples=n_samples)
        return fold.sum()

    def start(self, layout: Layout) -> "AveragingFold":
        return AveragingFold(self, layout)


class AveragingFold:
    """One float64 accumulator, and no temporary larger than a chunk."""

    def __init__(self, aggregator: Averaging, layout: Layout) -> None:
        self._aggregator = aggregator
        self._layout = layout
        self._total = np.zeros(layout.float_size, np.float64)
        self._weight = 0.0

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        values = update.to_numpy()
        check_same(self._layout, values.layout)
        weight = self._aggregator.weight(client=client, n_steps=n_steps, n_samples=n_samples)
        if weight == 0:
            return
        for part in chunks(self._total.size):
            self._total[part] += np.multiply(values.flat[part], weight, dtype=np.float64)
        self._weight += weight

    def sum(self) -> WeightedSum:
        """What has been added so far, to be merged with the sums of others."""
        total = NumpyVector.zeros(self._layout.with_float_dtype("float64"))
        total.flat[...] = self._total
        return WeightedSum(total, self._weight, self._layout.float_dtype)

    def finish(self) -> NumpyVector | None:
        if not self._weight:
            return None
        mean = NumpyVector.zeros(self._layout)
        for part in chunks(self._total.size):
            mean.flat[part] = self._total[part] / self._weight
        return mean
