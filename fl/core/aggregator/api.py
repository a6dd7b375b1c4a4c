"""What an aggregator promises."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from fl.core.layout import Layout
from fl.core.mergeable import Mergeable
from fl.core.registry import Registered, Registry
from fl.core.vector import NumpyVector, Vector, check_same


class Fold(Protocol):
    """The sum of one round, growing client by client in the order of the calls."""

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        """Take in one client's update, whose memory may be kept until `finish`: leave it unchanged.

        Raises `ValueError` when its layout is not that of the fold.
        """

    def finish(self) -> NumpyVector | None:
        """The aggregated update; None when no client did anything, so that the round changes nothing.

        Raises `ConfigError` when fewer clients did something than the aggregator's `min_updates`.
        """


class Aggregator(Registered, ABC, register=False):
    """Combines updates, `w_start - w_end`, of which `n_steps` steps over `n_samples` samples were the work.

    A client without steps has done nothing and counts for nothing. Integer tensors come out as zeros.

    Law: adding updates to a fold gives, bit for bit, what merging their prepared values in the same order gives.
    """

    registry: ClassVar[Registry["Aggregator"]] = Registry(
        "aggregator",
        {
            "averaging": "fl.core.aggregator.averaging:AveragingAggregator",
            "gradient-masked-averaging": "fl.core.aggregator.masked:GradientMaskedAveraging",
            "krum": "fl.core.aggregator.krum:KrumAggregator",
            "median": "fl.core.aggregator.ordered:MedianAggregator",
            "multi-krum": "fl.core.aggregator.krum:MultiKrumAggregator",
            "sum": "fl.core.aggregator.summing:SumAggregator",
            "trimmed-mean": "fl.core.aggregator.ordered:TrimmedMeanAggregator",
        },
    )
    needs_all: ClassVar[bool] = False
    """Whether each client's update is looked at by itself: all are then held until the end of the round, and none
    can be hidden in a secure sum."""

    @property
    def min_updates(self) -> int:
        """Clients that must have taken steps in a round for it to be aggregated at all."""
        return 1

    @abstractmethod
    def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> Mergeable:
        """One client's part of the sum. What `finish` gives is a `NumpyVector`, or None."""

    def start(self, layout: Layout) -> Fold:
        """An empty fold. Override it where the sum can be taken in place."""
        return _MergingFold(self, layout)


class _MergingFold:
    """Merges what `prepare` gives: right for every aggregator, at the price of temporaries."""

    def __init__(self, aggregator: Aggregator, layout: Layout) -> None:
        self._aggregator = aggregator
        self._layout = layout
        self._merged: Any = None

    def add(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> None:
        check_same(self._layout, update.layout)
        part = self._aggregator.prepare(update, client=client, n_steps=n_steps, n_samples=n_samples)
        self._merged = part if self._merged is None else self._merged.merge(part)

    def finish(self) -> NumpyVector | None:
        merged: NumpyVector | None = None if self._merged is None else self._merged.finish()
        return merged
