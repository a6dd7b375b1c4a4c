"""Weighted sums of updates, taken in place."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fl.core.aggregator.api import Aggregator, Fold
from fl.core.layout import Layout, check_same
from fl.core.mergeable import Mergeable, PartwiseSum, WeightedSum
from fl.core.vector import Array, NumpyVector, TakeFloats, Vector, chunks, zeros


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


class PartwiseFold(ABC):
    """A fold that takes each update a part at a time, so that none is ever whole in memory."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @abstractmethod
    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        """Begin with one client's update: what this returns takes its floats, part by part."""

    @abstractmethod
    def sum(self) -> PartwiseSum: ...

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        values = update.to_numpy()
        check_same(self.layout, values.layout)
        self.open(client=client, n_steps=n_steps, n_samples=n_samples)(0, values.flat)

    def finish(self) -> NumpyVector | None:
        result: NumpyVector | None = self.sum().finish()
        return result


class WeightedFold(PartwiseFold):
    """Σ weight·update and Σ weight: one float64 accumulator, and no temporary larger than a chunk."""

    def __init__(self, weigh: Weigh, layout: Layout, *, of: Callable[[Array], Array] | None = None) -> None:
        """`of` is what is summed in the place of the updates: a function of each element."""
        super().__init__(layout)
        self._weigh = weigh
        self._of = of
        self._total = zeros(layout.float_size, "float64")
        self._weight = 0.0

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        weight = self._weigh(client=client, n_steps=n_steps, n_samples=n_samples)
        self._weight += weight

        def take(start: int, values: Array) -> None:
            if weight == 0:
                return
            total = self._total[start : start + len(values)]
            for part in chunks(len(values)):
                addend = values[part] if self._of is None else self._of(values[part])
                total[part] += np.multiply(addend, weight, dtype=np.float64)

        return take

    def sum(self) -> WeightedSum:
        return WeightedSum(self.total(), self._weight, self.layout.float_dtype)

    def total(self) -> NumpyVector:
        """Σ weight·update; shares memory with the fold."""
        zeros: tuple[Any, ...] = tuple(np.zeros(spec.shape, spec.dtype) for spec in self.layout.other_specs)
        return NumpyVector(self.layout.with_float_dtype("float64"), self._total, zeros)
