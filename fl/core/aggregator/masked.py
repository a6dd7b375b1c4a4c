"""Averaging that damps coordinates on which clients disagree (Tenison et al. 2022, gradient masked averaging)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl.core.aggregator.averaging import AveragingAggregator
from fl.core.aggregator.weighted import WeightedFold
from fl.core.layout import Layout, Role
from fl.core.mergeable import WeightedSum
from fl.core.vector import NumpyVector, Vector, chunks
from fl.errors import ConfigError


class GradientMaskedAveraging(AveragingAggregator):
    """The weighted mean, times 1 where clients agree on the sign and times their agreement elsewhere.

    Tenison et al. 2022, section 4: agreement A = |Σ p_i·sign(u_i)| with p_i the normalised weights, and the mean of
    each coordinate is kept where A >= `threshold` and multiplied by A elsewhere. A zero agrees with neither sign.
    A threshold of 0 is plain averaging. Buffers, such as BatchNorm's statistics, are averaged without a mask.
    """

    name = "gradient-masked-averaging"

    def __init__(
        self,
        threshold: float = 1.0,
        steps_weighted: bool = True,
        client_weights: Mapping[str, float] | None = None,
        *,
        samples_weighted: bool = False,
    ) -> None:
        super().__init__(steps_weighted, client_weights, samples_weighted)
        self.threshold = threshold
        if not 0 <= threshold <= 1:
            raise ConfigError(f"{self.name}: threshold is {threshold}: use a share of agreement between 0 and 1")

    def get_config(self) -> dict[str, Any]:
        return {"threshold": self.threshold, **super().get_config()}

    def start(self, layout: Layout) -> "MaskedFold":
        return MaskedFold(self, layout)


@dataclass(frozen=True, slots=True)
class MaskedSum:
    """Σ weight·update, and Σ weight·sign(update) of the trainable tensors."""

    updates: WeightedSum
    signs: WeightedSum
    threshold: float

    def merge(self, other: "MaskedSum") -> "MaskedSum":
        return MaskedSum(self.updates.merge(other.updates), self.signs.merge(other.signs), self.threshold)

    def finish(self) -> NumpyVector | None:
        result = self.updates.finish()
        if result is None:
            return None
        # the signs' weights were added up by the very same operations, so full agreement gives 1 and not almost 1
        updates, signs, weight = self.updates.total.flat, self.signs.total.flat, self.signs.weight
        for part in chunks(signs.size):
            agreement = np.abs(signs[part]) / weight
            mask = np.where(agreement >= self.threshold, 1.0, agreement)
            result.flat[part] = updates[part] / weight * mask
        return result


class MaskedFold:
    """Two float64 accumulators."""

    def __init__(self, aggregator: GradientMaskedAveraging, layout: Layout) -> None:
        self._updates = WeightedFold(aggregator.weight, layout)
        self._signs = WeightedFold(aggregator.weight, layout.select(Role.TRAINABLE), of=np.sign)
        self._threshold = aggregator.threshold

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        values = update.to_numpy()
        self._updates.add(values, client=client, n_steps=n_steps, n_samples=n_samples)
        self._signs.add(values.select(Role.TRAINABLE), client=client, n_steps=n_steps, n_samples=n_samples)

    def sum(self) -> MaskedSum:
        return MaskedSum(self._updates.sum(), self._signs.sum(), self._threshold)

    def finish(self) -> NumpyVector | None:
        return self.sum().finish()
