"""Updates added up, for clients whose updates are parts of one step rather than estimates of it."""

from dataclasses import dataclass

from fl.core.aggregator.weighted import SummingAggregator, SummingFold, WeightedFold
from fl.core.layout import Layout, Role
from fl.core.mergeable import WeightedSum
from fl.core.vector import Array


class SumAggregator(SummingAggregator):
    """Σ update_i, whatever the work behind it.

    Buffers, such as BatchNorm's statistics, are averaged: a sum of statistics is no statistic.
    """

    name = "sum"

    def start(self, layout: Layout) -> SummingFold:
        return SumFold(one_if_trained, layout)


@dataclass(frozen=True, slots=True)
class UpdatesSum(WeightedSum):
    """Σ update, of which the weight is the number of clients."""

    n_trained: int
    """Floats of trainable tensors, which come first."""

    def at(self, part: slice) -> Array:
        result, n_trained = WeightedSum.at(self, part), max(0, self.n_trained - part.start)
        result[:n_trained] = self.total.flat[part][:n_trained]
        return result


class SumFold(WeightedFold):
    """A weighted fold whose trainable tensors are not divided by the weights."""

    def sum(self) -> UpdatesSum:
        n_trained = self.layout.select(Role.TRAINABLE).float_size
        return UpdatesSum(self.total(), self.weight, self.layout.float_dtype, n_trained)


def one_if_trained(*, client: str, n_steps: int, n_samples: int) -> float:
    """The weight of clients that all count the same."""
    del client, n_samples
    return 1.0 if n_steps else 0.0
