"""Updates added up, for clients whose updates are parts of one step rather than estimates of it."""

from fl.core.aggregator.weighted import SummingAggregator, SummingFold, WeightedFold
from fl.core.layout import Layout, Role
from fl.core.mergeable import WeightedSum
from fl.core.vector import NumpyVector


class SumAggregator(SummingAggregator):
    """Σ update_i, whatever the work behind it.

    Buffers, such as BatchNorm's statistics, are averaged: a sum of statistics is no statistic.
    """

    name = "sum"

    def start(self, layout: Layout) -> SummingFold:
        return SumFold(one_if_trained, layout)


class UpdatesSum(WeightedSum):
    """Σ update, of which the weight is the number of clients."""

    __slots__ = ()

    def finish(self) -> NumpyVector | None:
        result = super().finish()
        if result is not None:
            trainable = self.total.layout.select(Role.TRAINABLE).float_size
            result.flat[:trainable] = self.total.flat[:trainable]
        return result


class SumFold(WeightedFold):
    """A weighted fold whose trainable tensors are not divided by the weights."""

    def sum(self) -> UpdatesSum:
        return UpdatesSum(self.total(), self._weight, self._layout.float_dtype)


def one_if_trained(*, client: str, n_steps: int, n_samples: int) -> float:
    """The weight of clients that all count the same."""
    del client, n_samples
    return 1.0 if n_steps else 0.0
