"""Weighted sums of updates, taken in place."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fl.core.aggregator.api import Aggregator, Fold
from fl.core.layout import Layout, check_same
from fl.core.mergeable import Mergeable, WeightedSum
from fl.core.vector import Array, NumpyVector, Vector, chunks


class Weigh(Protocol):
    """How much one client counts."""

    def __call__(self, *, client: str, n_steps: int, n_samples: int) -> float: ...


class SummingFold(Fold, Protocol):
    """A fold that can hand over its sum."""

    def sum(self) -> Mergeable:
        """What has been added; it shares the fold's memory, so nothing more may be added after."""


class SummingAggregator(Aggregator, register=False):
    """Needs no more of the updates than sums over clients."""

    @abstractmethod
    def start(self, layout: Layout) -> SummingFold: ...

    def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> Mergeable:
        fold = self.start(update.layout)
        fold.add(update, client=client, n_steps=n_steps, n_samples=n_samples)
        return fold.sum()


class WeightedFold:
    """Σ weight·update and Σ weight: one float64 accumulator, and no temporary larger than a chunk."""

    def __init__(self, weigh: Weigh, layout: Layout, *, of: Callable[[Array], Array] | None = None) -> None:
        """`of` is what is summed in the place of the updates: a function of each element."""
        self._weigh = weigh
        self._layout = layout
        self._of = of
        self._total = np.zeros(layout.float_size, np.float64)
        self._weight = 0.0

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        values = update.to_numpy()
        check_same(self._layout, values.layout)
        weight = self._weigh(client=client, n_steps=n_steps, n_samples=n_samples)
        if weight == 0:
            return
        for part in chunks(self._total.size):
            addend = values.flat[part] if self._of is None else self._of(values.flat[part])
            self._total[part] += np.multiply(addend, weight, dtype=np.float64)
        self._weight += weight

    def sum(self) -> WeightedSum:
        return WeightedSum(self.total(), self._weight, self._layout.float_dtype)

    def total(self) -> NumpyVector:
        """Σ weight·update; shares memory with the fold."""
        zeros: tuple[Any, ...] = tuple(np.zeros(spec.shape, spec.dtype) for spec in self._layout.other_specs)
        return NumpyVector(self._layout.with_float_dtype("float64"), self._total, zeros)

    def finish(self) -> NumpyVector | None:
        return self.sum().finish()
