"""Averaging that damps coordinates on which clients disagree (Tenison et al. 2022, gradient masked averaging)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fl.core.aggregator.averaging import AveragingAggregator
from fl.core.aggregator.weighted import AccumulatingFold, WeightedFold
from fl.core.layout import Layout, Role
from fl.core.mergeable import WeightedSum
from fl.core.vector import Array, NumpyVector, TakeFloats, zeros
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
class MaskedSum(WeightedSum):
    """Σ weight·update, and Σ weight·sign(update) of the trainable tensors."""

    signs: NumpyVector
    threshold: float

    def merge(self, other: Self) -> Self:
        return replace(WeightedSum.merge(self, other), signs=self.signs + other.signs)

    def at(self, part: slice) -> Array:
        result = WeightedSum.at(self, part)
        signs = self.signs.flat[part]
        # its weights were added up by the very same operations, so full agreement gives 1 and not almost 1
        agreement = np.abs(signs) / self.weight
        result[: len(signs)] *= np.where(agreement >= self.threshold, 1.0, agreement)
        return result


class MaskedFold(AccumulatingFold):
    """Two sums in one float64 accumulator: of the updates, then of the signs of what is trained."""

    def __init__(self, aggregator: GradientMaskedAveraging, layout: Layout) -> None:
        trained = layout.select(Role.TRAINABLE)
        super().__init__(layout, zeros(layout.float_size + trained.float_size, "float64"))
        updates, signs = np.split(self.accumulated, [layout.float_size])
        self._weigh = aggregator.weight
        self._updates = WeightedFold(aggregator.weight, layout, accumulated=updates)
        self._signs = WeightedFold(aggregator.weight, trained, of=np.sign, accumulated=signs)
        self._threshold = aggregator.threshold

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        self.weight += self._weigh(client=client, n_steps=n_steps, n_samples=n_samples)
        updates, signs = (
            fold.open(client=client, n_steps=n_steps, n_samples=n_samples) for fold in (self._updates, self._signs)
        )
        n_trained = self._signs.layout.float_size

        def take(start: int, values: Array) -> None:
            updates(start, values)
            if start < n_trained:
                signs(start, values[: n_trained - start])

        return take

    def sum(self) -> MaskedSum:
        updates = self._updates.total()
        return MaskedSum(updates, self.weight, self.layout.float_dtype, self._signs.total(), self._threshold)
