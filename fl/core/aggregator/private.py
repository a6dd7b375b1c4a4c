"""Sums of clipped updates that all count the same, to which noise is added before anybody sees them."""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fl.core.aggregator.weighted import AccumulatingFold, SummingAggregator
from fl.core.layout import Layout
from fl.core.mergeable import WeightedSum
from fl.core.privacy.central import SENSITIVITY, SumPrivacy, clip_factor
from fl.core.privacy.noise import NormalSource
from fl.core.vector import Array, NumpyVector, TakeFloats, chunks, zeros


class PrivateAveraging(SummingAggregator, register=False):
    """(Σ clip(update_i, S) + noise) / expected clients; `fl.core.privacy.central` says what it is good for.

    A run has one a round, of the round's own clip norm, in the place of the aggregator that its spec names. The noise
    is added once, by whoever has the whole sum.
    """

    def __init__(self, privacy: SumPrivacy) -> None:
        self.privacy = privacy

    def start(self, layout: Layout) -> "PrivateFold":
        return PrivateFold(self.privacy, layout)


@dataclass(frozen=True, slots=True)
class PrivateSum(WeightedSum):
    """Σ clip(update), over the number of clients that were expected: the weight, however many there are."""

    within: Array
    """Σ (b_i - 1/2), of shape (1,), where b_i is 1 for an update that was no longer than the clip norm, else 0."""
    privacy: SumPrivacy

    def merge(self, other: Self) -> Self:
        merged = replace(WeightedSum.merge(self, other), within=self.within + other.within)
        return replace(merged, weight=self.weight)

    def digest(self) -> bytes:
        """SHA-256 over all that is published once the noise is added, and how much that is."""
        found = hashlib.sha256(repr(self.privacy).encode())
        found.update(self.total.flat.data)
        found.update(self.within.data)
        return found.digest()

    def add_noise(self, source: NormalSource) -> None:
        """Add noise to the sum, and to the count where the clip norm follows it, in place."""
        flat, std = self.total.flat, self.privacy.sum_noise
        for part in chunks(flat.size):
            flat[part] += std * source.standard_normal(part.stop - part.start)
        if self.privacy.adaptive is not None:
            self.within[:] += self.privacy.count_noise * source.standard_normal(1)

    def next_clip_norm(self) -> float:
        """Of the next round; to be asked once the noise is added."""
        return self.privacy.next_clip_norm(float(self.within[0]))


class PrivateFold(AccumulatingFold):
    """One float64 accumulator: of the updates, and after them of who was within the clip norm.

    Each update is held until it is whole, since its length is that of all its parts.
    """

    def __init__(self, privacy: SumPrivacy, layout: Layout) -> None:
        super().__init__(layout, zeros(layout.float_size + 1, "float64"))
        self._privacy = privacy

    def open(self, *, client: str, n_steps: int, n_samples: int) -> TakeFloats:
        del client, n_steps, n_samples  # who has done no step is not told from others
        update = NumpyVector(self.layout, np.empty(self.layout.float_size, self.layout.float_dtype))

        def take(start: int, values: Array) -> None:
            update.flat[start : start + len(values)] = values
            if start + len(values) == update.flat.size:
                self._add(update)

        return take

    def _add(self, update: NumpyVector) -> None:
        with np.errstate(over="ignore"):  # what is too long for floats counts nothing
            norm, bound = update.norm(), self._privacy.clip_norm
        factor = clip_factor(norm, bound)
        for part in chunks(update.flat.size):
            self.accumulated[:-1][part] += np.multiply(update.flat[part], factor, dtype=np.float64)
        self.accumulated[-1] += SENSITIVITY if norm <= bound else -SENSITIVITY
        self.weight += 1

    def sum(self) -> PrivateSum:
        others = tuple(np.zeros(spec.shape, spec.dtype) for spec in self.layout.other_specs)
        total = NumpyVector(self.layout.with_float_dtype("float64"), self.accumulated[:-1], others)
        privacy = self._privacy
        return PrivateSum(total, privacy.expected, self.layout.float_dtype, self.accumulated[-1:], privacy)
