"""Aggregators that must see every update by itself, as those do that withstand hostile clients."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fl.core.aggregator.api import Aggregator
from fl.core.layout import check_same
from fl.core.vector import NumpyVector, Vector
from fl.errors import ConfigError


class GatheringAggregator(Aggregator, register=False):
    """A function of all updates, each of which counts the same, however much work was behind it.

    A client's own word on its work must not make it count more: that is what a hostile one would lie about. The
    updates are held as they came, in their own dtype, until the round closes: memory is O(clients x model). They are
    combined in the order of the clients' names, so the result has the same bits in whichever order they came.

    Buffers, such as BatchNorm's statistics, are treated like all else: they can be poisoned as well.
    """

    needs_all: ClassVar[bool] = True

    @abstractmethod
    def combine(self, updates: Sequence[NumpyVector]) -> NumpyVector:
        """One update of at least `min_updates`, which are of one layout and in the order of the clients' names."""

    def prepare(self, update: Vector, *, client: str, n_steps: int, n_samples: int) -> "Gathered":
        del n_samples
        return Gathered(self, {client: update.to_numpy()} if n_steps else {})


@dataclass(frozen=True, slots=True)
class Gathered:
    """Updates by client; parts of it merge into their union, which no secure sum can do."""

    aggregator: GatheringAggregator
    updates: Mapping[str, NumpyVector]

    def merge(self, other: "Gathered") -> "Gathered":
        twice = sorted(self.updates.keys() & other.updates.keys())
        if twice:
            raise ValueError(f"client {twice[0]!r} is in both parts, but each client counts once a round")
        for mine, theirs in zip(self.updates.values(), other.updates.values(), strict=False):
            check_same(mine.layout, theirs.layout)
        return Gathered(self.aggregator, {**self.updates, **other.updates})

    def finish(self) -> NumpyVector | None:
        """The aggregated update; None when no client trained. Raises `ConfigError` when too few did."""
        if not self.updates:
            return None
        needed = self.aggregator.min_updates
        if len(self.updates) < needed:
            raise ConfigError(
                f"{self.aggregator.name}: {len(self.updates)} clients took steps in this round, and with "
                f"{self.aggregator.get_config()} it needs {needed}: set the run's min_replies to {needed} or more, "
                "or count with fewer hostile clients"
            )
        return self.aggregator.combine([self.updates[client] for client in sorted(self.updates)])
