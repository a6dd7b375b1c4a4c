"""What an evaluation says of its samples, with noise.

An evaluation tells J sums over samples: how many there are, their losses, and what metrics count. A sample of weight at
most 1 adds to the j-th of them a vector no longer than b_j. So a sample more, or less, moves

    ( s_1 / (b_1·√J), …, s_J / (b_J·√J) )

by at most √(Σ_j 1/J) = 1 in Euclidean norm. With noise N(0, sigma²) on each of its numbers that is one Gaussian
mechanism: it costs what one step costs that all samples are in, `Spending(sigma, 1.0, 1)`. Multiplied back, each number
of s_j has noise of standard deviation sigma·b_j·√J. What is made of it all afterwards is as private as it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fl.core.dataset.sampling import Batching
from fl.core.metrics import Loss, MetricSet
from fl.core.privacy.accounting import Spending
from fl.core.privacy.noise import NormalSource
from fl.core.vector import Array
from fl.errors import ConfigError

COUNT: Final = "n"
"""The sum that is the number of samples; the others are "loss/<field>" and "<metric>/<field>"."""
TOTAL: Final = "loss/total"
WEIGHT: Final = "loss/weight"
LEAST_WEIGHT: Final = 1.0
"""What the weights of an evaluation come to at least, so that noise gives no mean beyond all losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What a site lets an evaluation tell, with how much noise. Raises `ConfigError` where that is no noise."""

    noise_multiplier: float
    """sigma: the standard deviation of the noise, over what one sample moves."""
    loss_bound: float
    """A sample's loss counts as at most this, and as no less than its negative."""
    share_loss: bool = True
    share_metrics: bool = True
    n_samples: int | None = None
    """Told in the place of the true number; None: that with noise."""

    def __post_init__(self) -> None:
        _ = self.spending  # which raises
        if not 0 < self.loss_bound < math.inf:
            raise ConfigError(f"loss_bound is {self.loss_bound}: use a number above 0 that few samples' losses exceed")

    @property
    def spending(self) -> Spending:
        """The price of one evaluation."""
        return Spending(self.noise_multiplier, 1.0, 1)

    def bounds(self, metrics: MetricSet) -> dict[str, float]:
        """b_j of each sum that is told; none at all where the site shares neither losses nor a metric with bounds."""
        told = MetricSet([Loss()]).bounds(loss=self.loss_bound) if self.share_loss else {}
        for key, bound in metrics.bounds(loss=self.loss_bound).items() if self.share_metrics else ():
            if self.share_loss or not metrics.metrics[_metric(key)].of_losses:
                told[key] = bound
        return {COUNT: 1.0, **told} if told and self.n_samples is None else told


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateEvaluation:
    """One evaluation that has been paid for."""

    telling: Telling
    bounds: Mapping[str, float]
    noise: NormalSource
    """New for every evaluation, from a key that no other has (`keys.py`)."""
    alone: bool = False
    """Whether the model is shown each sample by itself, as those of a batch could see each other."""

    def batching(self, batching: Batching) -> Batching:
        """Every sample, as limits would let one more decide which others are seen."""
        size = 1 if self.alone else batching.batch_size
        return replace(batching, batch_size=size, drop_remainder=False)

    def clip(self, losses: Array, weights: Any) -> tuple[Array, Array | None]:
        """Losses of at most the bound, which is also what counts for one that is no number, and weights from 0 to 1."""
        bound = self.telling.loss_bound
        losses = np.nan_to_num(np.asarray(losses, np.float64), nan=bound).clip(-bound, bound)
        if weights is not None:
            weights = np.nan_to_num(np.asarray(weights, np.float64), nan=0.0).clip(0.0, 1.0)
        return losses, weights

    def tell(self, sums: Mapping[str, Array]) -> dict[str, Array]:
        """Once: these sums with noise, by their keys; what is not told is zero, as that of no samples."""
        scale = self.telling.noise_multiplier * math.sqrt(len(self.bounds))
        noised = {key: self._noised(sums[key], scale * bound) for key, bound in self.bounds.items()}
        told = {key: np.zeros_like(value) for key, value in sums.items()} | noised
        if TOTAL in noised:
            told[WEIGHT] = np.maximum(told[WEIGHT], LEAST_WEIGHT)
            most = told[WEIGHT] * self.telling.loss_bound
            told[TOTAL] = told[TOTAL].clip(-most, most)
        told[COUNT] = np.maximum(np.rint(told[COUNT]), 1.0)
        if self.telling.n_samples is not None:
            told[COUNT] = np.asarray(float(self.telling.n_samples))
        shown = {_metric(key) for key in self.bounds}
        return told | {key: told[COUNT] for key in sums if _field(key) == COUNT and _metric(key) in shown}

    def _noised(self, values: Array, std: float) -> Array:
        noise = self.noise.standard_normal(values.size).reshape(values.shape)
        return np.asarray(values + std * noise, np.float64)


def _metric(key: str) -> str:
    return key.partition("/")[0]


def _field(key: str) -> str:
    return key.partition("/")[2]
