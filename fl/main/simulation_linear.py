"""Rounds of linear models trained by plain SGD, for a crowd: nothing but the arithmetic, to the same bits.

A learner prepares for whatever a model, an optimizer or a dataset may need, which takes ten times as long as a step of
a small linear model. Where none of it is needed, the functions that the model itself steps by (`fl.core.model.linear`)
are called here on arrays that are prepared once.
"""

import math
import time
from dataclasses import dataclass
from typing import Self

import numpy as np

from fl.client.learner import Data, Shared, Trained
from fl.core.compression import Uncompressed
from fl.core.dataset import Batch
from fl.core.layout import check_same
from fl.core.model.labels import SignedLabels
from fl.core.model.linear import Coefficients, StepRule, decision, mean_gradient
from fl.core.model.losses import CLASSIFICATION
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.optimizer import Optimizer
from fl.core.training import TrainResult
from fl.core.vector import Array, NumpyVector
from fl.errors import DataError
from fl.run.spec import RunSpec, compression_of


@dataclass(frozen=True, slots=True)
class Prepared:
    """A client's samples: features of shape (n, features), targets of shape (n, rows), weights of shape (n, 1)."""

    x: Array
    y: Array
    weights: Array | None


class LinearRounds:
    """One round after the other, of any client that `prepare` takes."""

    def __init__(self, spec: RunSpec, shared: Shared, rate: float) -> None:
        """Raises `FluffleError` where the model does not fit the data."""
        model = SklearnSGDModel.from_config(spec.model.config)
        model.initialize(shared.data_info)
        self._params = model.params
        self._layout = model.get_weights().layout
        self._shape = self._layout.specs[0].shape
        self._rule = StepRule.of(model.params)
        self._slope = CLASSIFICATION[str(model.params.loss)].slope
        self._labels = (
            None
            if model.params.kind == "regressor"
            else SignedLabels(shared.data_info.classes or (), model.params.dtype)
        )
        self._rate = rate
        self._step, self._flat = (np.empty(self._layout.float_size, self._layout.float_dtype) for _ in range(2))
        self._gradient, self._known = self._view(self._step), self._view(self._flat)
        """Views of these."""
        self._in_order: dict[int, list[slice | Array]] = {}
        """Batches of so many samples that are taken in their order."""
        training = spec.run.training
        self._training = training
        self._batching = training.batching

    @classmethod
    def of(cls, spec: RunSpec, shared: Shared) -> Self | None:
        """None where a run needs more than this: another model, a module, a schedule, compression."""
        training = spec.run.training
        optimizer = Optimizer.from_config(spec.optim.client_opt)
        more = not optimizer.only_scales or training.timeout or training.poisson or not compression_of(spec).lossless
        if spec.run.compression.name != Uncompressed.name or spec.run.privacy is not None:
            return None
        if spec.model.kind != SklearnSGDModel.name or more:
            return None
        return cls(spec, shared, optimizer.lrate) if isinstance(optimizer.lrate, float) else None

    @property
    def draws(self) -> bool:
        """Whether batches are drawn by chance."""
        return self._batching.shuffle or self._batching.replacement

    def prepare(self, data: Data) -> Prepared | None:
        """None for data that only the model itself knows what to do with, such as sparse ones, or to refuse."""
        batch = data.train.take(slice(None))
        x = batch.x
        fits = isinstance(x, np.ndarray) and x.ndim == 2 and x.shape[1] == self._shape[1]
        if not fits or x.dtype != self._params.dtype or batch.y is None:
            return None
        try:
            self._batching.n_batches(len(x))
            y = self._targets(batch)
        except (DataError, ValueError):
            return None
        weights = None if batch.weights is None else np.asarray(batch.weights, x.dtype)[:, None]
        return Prepared(x, y, weights) if y.shape == (len(x), self._shape[0]) else None

    def train(self, samples: Prepared, weights: NumpyVector, rng: np.random.Generator) -> Trained | None:
        """A round from `weights`; None where it diverges."""
        check_same(weights.layout, self._layout)
        start, n_samples = time.monotonic(), 0
        per_epoch = self._batching.n_batches(len(samples.y))
        n_steps = self._n_steps(per_epoch)
        flat, known = weights.flat, self._view(weights.flat)
        for number in range(n_steps):
            if number % per_epoch == 0:
                parts = self._parts(len(samples.y), rng)
            part = parts[number % per_epoch]
            n_samples += self._compute_step(known, samples, part)
            np.subtract(flat, self._step, out=self._flat)
            flat, known = self._flat, self._known
        update = weights.flat - flat
        # a sum of squares tells faster, but for numbers too large to be squared
        if not math.isfinite(np.dot(update, update)) and not np.isfinite(update).all():
            return None
        result = TrainResult(n_steps, n_samples, n_steps // per_epoch, time.monotonic() - start)
        return Trained(NumpyVector(weights.layout, update), {}, result)

    def _n_steps(self, per_epoch: int) -> int:
        """Of a round: until the first limit is reached."""
        limits = ((self._training.n_epoch or 0) * per_epoch, self._training.n_steps or 0)
        return min(limit for limit in limits if limit)

    def _parts(self, n_samples: int, rng: np.random.Generator) -> list[slice | Array]:
        """The samples of each step of an epoch."""
        if self.draws:
            return list(self._batching.indices(n_samples, rng))
        if n_samples not in self._in_order:
            self._in_order[n_samples] = list(self._batching.indices(n_samples, rng))
        return self._in_order[n_samples]

    def _compute_step(self, known: Coefficients, samples: Prepared, part: slice | Array) -> int:
        """Leave in `_step` what to take off the weights; returns the number of samples."""
        x, y = samples.x[part], samples.y[part]
        slopes = self._slope(y, decision(x, known), self._params.epsilon)
        if samples.weights is not None:
            slopes = slopes * samples.weights[part]
        self._step.fill(0.0)
        mean_gradient(x, slopes, known.coef, self._rule, self._gradient)
        self._step *= self._rate
        return len(y)

    def _targets(self, batch: Batch) -> Array:
        if self._labels is not None:
            return self._labels.encode(batch.y)
        return np.asarray(batch.y, self._params.dtype).reshape(-1, 1)

    def _view(self, flat: Array) -> Coefficients:
        rows = self._shape[0]
        return Coefficients(flat[:-rows].reshape(self._shape), flat[-rows:])
