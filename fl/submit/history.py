"""What a run's log says, for people: its progress, its outcome and its weights."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field

from broker import topology
from broker.base import Message, Session
from broker.errors import NotFound
from broker.threads import in_thread
from broker.topology import MARKER
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.run.apply import apply
from fl.run.events import Kind, Record, RoundCommitted, RunEnded
from fl.run.releases import Spent, spent
from fl.run.replay import counts
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.wire.bulk import fetch
from fl.wire.records import Repeats, read_record
from fl.wire.tensors import open_parcel


@dataclass(frozen=True, slots=True)
class Happened:
    """A record that counts, when its leader wrote it (seconds since the epoch), and the state after it."""

    at: float
    record: Record
    state: RunState


class Reader:
    """Folds a log's messages; void records and markers give nothing."""

    def __init__(self, run: str, spec: RunSpec) -> None:
        self._state = RunState(run, spec)
        self._repeats = Repeats()

    def read(self, message: Message) -> Happened | None:
        """Raises `BadMessage`."""
        if message.type == MARKER:
            return None
        entry, record = read_record(message)
        if self._repeats.has(entry) or not counts(self._state, entry.leader, record):
            return None
        self._state = apply(self._state, record)
        return Happened(entry.at, record, self._state)


async def follow(session: Session, run: str, spec: RunSpec) -> AsyncIterator[Happened]:
    """A run from its beginning to its end, as it goes on. Raises `ConfigError` where it left no log."""
    reader = Reader(run, spec)
    try:
        entries = await session.read(topology.run_log(run))
    except NotFound:
        raise ConfigError(f"run {run!r} has no log on this broker: was it pruned?") from None
    async with entries:
        async for delivery in entries:
            await delivery.ack()
            happened = reader.read(delivery.message)
            if happened is not None:
                yield happened
                if isinstance(happened.record, RunEnded):
                    return


def past(run: str, spec: RunSpec, messages: Iterable[Message]) -> Iterator[Happened]:
    """What has happened so far."""
    reader = Reader(run, spec)
    return (happened for happened in map(reader.read, messages) if happened is not None)


@dataclass(slots=True)
class History:
    """The rounds of a run, one row a training round, with the evaluation of its weights where there was one."""

    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    costs: dict[int, Spent] = field(default_factory=dict)
    """What a centrally private run had cost when a round was committed."""

    def add(self, happened: Happened) -> None:
        record = happened.record
        if not isinstance(record, RoundCommitted):
            return
        row = self.rows.setdefault(record.round, {"round": record.round})
        if record.kind is Kind.TRAIN:
            row["clients"] = len(record.participants)
            row["dropped"] = len(record.dropped)
            row["steps"] = sum(one.n_steps for one in record.participants)
            row["samples"] = sum(one.n_samples for one in record.participants)
            cost = spent(happened.state)
            if cost is not None:
                self.costs[record.round] = cost
            return
        row |= {metric.name: metric.values[0] for metric in record.metrics if metric.shape == ()}
        if record.loss is not None:  # of all clients, also those that keep a metric of this name to themselves
            row["loss"] = record.loss
        row |= {f"loss of {one.client}": one.loss for one in record.participants if one.loss is not None}

    def table(self) -> list[dict[str, float]]:
        """The rows in order; those of a centrally private run with "epsilon" so far, NaN where Opacus is missing."""
        return [self.rows[round_] | self._epsilon(round_) for round_ in sorted(self.rows)]

    def _epsilon(self, round_: int) -> dict[str, float]:
        if round_ not in self.costs:
            return {}
        try:
            return {"epsilon": self.costs[round_].epsilon}
        except ConfigError:  # who only fetches a run need not have it
            return {"epsilon": math.nan}


async def final_weights(session: Session, state: RunState) -> NumpyVector | None:
    """All tensors of the model that the run left, or its newest ones while it goes on. Raises `BadMessage`."""
    _, known = state.final_weights
    if state.ended is not None:
        known = state.ended.weights
    parts = [await fetch(session, open_parcel(part)) for part in (known, state.fixed) if part is not None]
    return await in_thread(NumpyVector.join, *parts) if known is not None else None
