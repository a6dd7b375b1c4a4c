"""Which samples go into which batch."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from fl.core.vector import Array
from fl.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Batching:
    """How an epoch of n samples is cut into batches of B = `batch_size`.

    In order, or shuffled: each sample once; the last batch takes the remainder, unless that is dropped.
    `replacement`: batches of the same sizes, each sample drawn uniformly from all.
    `poisson`: each sample is in a batch with probability B/n, independently, so sizes vary and may be 0. There are
    ⌈n/B⌉ batches, or ⌊n/B⌋ but at least one where the remainder is dropped; `shuffle` changes nothing.

    Fewer samples than B with `drop_remainder`: an error, not a silent epoch without a step. Without it: one batch.
    """

    batch_size: int
    _: KW_ONLY
    shuffle: bool = False
    drop_remainder: bool = True
    poisson: bool = False
    replacement: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: use at least 1")
        if self.poisson and self.replacement:
            raise ConfigError("poisson and replacement exclude each other: choose one way to draw batches")

    def options(self) -> dict[str, Any]:
        """The arguments of `Dataset.generate_batches`, but for its generator."""
        return {name: getattr(self, name) for name in self.__slots__}

    def n_batches(self, n_samples: int) -> int:
        """Batches of an epoch. Raises `DataError` when there would be none."""
        if n_samples == 0:
            raise DataError("the dataset is empty, so there is nothing to make batches of")
        full, rest = divmod(n_samples, self.batch_size)
        if self.poisson:
            return max(full, 1) if self.drop_remainder else full + bool(rest)
        if self.drop_remainder and full == 0:
            raise DataError(
                f"batch_size={self.batch_size} with drop_remainder leaves no batch of the {n_samples} samples here: "
                f"use drop_remainder=False, or a batch_size of at most {n_samples}"
            )
        return full if self.drop_remainder else full + bool(rest)

    def sample_rate(self, n_samples: int) -> float:
        """The probability with which a sample is in a Poisson batch."""
        return min(self.batch_size / n_samples, 1.0)

    def indices(self, n_samples: int, rng: np.random.Generator) -> Iterator[slice | Array]:
        """The samples of each batch of one epoch. Raises `DataError` at once when there would be none."""
        n_batches = self.n_batches(n_samples)
        if self.poisson:
            rate = self.sample_rate(n_samples)
            return (_bernoulli(n_samples, rate, rng) for _ in range(n_batches))
        starts = range(0, n_batches * self.batch_size, self.batch_size)
        parts = (slice(start, min(start + self.batch_size, n_samples)) for start in starts)
        if self.replacement:
            return (rng.integers(n_samples, size=part.stop - part.start) for part in parts)
        if self.shuffle:
            order = rng.permutation(n_samples)
            return (order[part] for part in parts)
        return parts


def _bernoulli(n_samples: int, rate: float, rng: np.random.Generator) -> Array:
    """Sorted indices, each of `n_samples` with probability `rate`, in memory of the order of those drawn.

    Between two successes of independent trials lies a geometric number of trials, so only successes are drawn.
    """
    if rate == 1.0:
        return np.arange(n_samples)
    expected = n_samples * rate
    draws = int(expected + 4 * np.sqrt(expected)) + 1
    found = np.cumsum(rng.geometric(rate, draws)) - 1
    while found[-1] < n_samples:
        found = np.concatenate([found, found[-1] + np.cumsum(rng.geometric(rate, draws))])
    return found[: np.searchsorted(found, n_samples)]
