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


class AccumulatingFold(PartwiseFold):
    """A fold that is one float64 accumulator and a weight, so that those of two blocks of clients can be added."""

    def __init__(self, layout: Layout, accumulated: Array) -> None:
        super().__init__(layout)
        self.accumulated = accumulated
        """What has been added, flat; the rest of a fold is how it was made."""
        self.weight = 0.0

    def open_block(self, weight: float) -> TakeFloats:
        """Begin with what another fold of this kind has accumulated: what this returns takes it, part by part."""
        self.weight += weight

        def take(start: int, values: Array) -> None:
            total = self.accumulated[start : start + len(values)]
            for part in chunks(len(values)):
                total[part] += values[part]

        return take

    def absorb(self, block: "AccumulatingFold") -> None:
        """Add all that a fold of the same layout has."""
        self.open_block(block.weight)(0, block.accumulated)


class WeightedFold(AccumulatingFold):
    """Σ weight·update and Σ weight: one float64 accumulator, and no temporary larger than a chunk."""

    def __init__(
        self,
        weigh: Weigh,
        layout: Layout,
        *,
        of: Callable[[Array], Array] | None = None,
        accumulated: Array | None = None,
    ) -> None:
        """`of` is what is summed in the place of the updates: a function of each element. `accumulated` is zeros."""
        super().__init__(layout, zeros(layout.float_size, "float64") if accumulated is None else accumulated)
        self._weigh = weigh
        self._of = of

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        weight = self._weigh(client=client, n_steps=n_steps, n_samples=n_samples)
        self.weight += weight

        def take(start: int, values: Array) -> None:
            if weight == 0:
                return
            total = self.accumulated[start : start + len(values)]
            for part in chunks(len(values)):
                addend = values[part] if self._of is None else self._of(values[part])
                total[part] += np.multiply(addend, weight, dtype=np.float64)

        return take

    def sum(self) -> WeightedSum:
        return WeightedSum(self.total(), self.weight, self.layout.float_dtype)

    def total(self) -> NumpyVector:
        """Σ weight·update; shares memory with the fold."""
        others: tuple[Any, ...] = tuple(np.zeros(spec.shape, spec.dtype) for spec in self.layout.other_specs)
        return NumpyVector(self.layout.with_float_dtype("float64"), self.accumulated, others)
