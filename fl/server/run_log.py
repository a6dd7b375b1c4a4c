"""The run's log as its leader uses it: taken over, replayed, and appended to.

A record is in force only once it was *read back* from the stream. Whoever was replaced without noticing reads the
newer `LeaderStarted` before its own record, and resigns.
"""

import asyncio
import itertools
import math
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Self

from broker import topology
from broker.base import Message, Session, Subscription
from broker.errors import NotFound
from broker.topology import MARKER
from fl.run.events import LeaderStarted, Record
from fl.run.replay import replay
from fl.run.state import RunState
from fl.wire.records import Repeats, read_record, write_record


class Deposed(Exception):
    """Another worker leads this run now."""


class Outdated(Exception):
    """The run was led by a newer release, whose decisions this one may not take over."""


class RunOver(Exception):
    """The log is gone: the run was pruned."""


class RunLog:
    """One leader's hold on the log of a run."""

    def __init__(self, session: Session, entries: Subscription, stream: str, leader: str, clock: Callable[[], float]):
        self._session = session
        self._entries = entries
        self._stream = stream
        self._leader = leader
        self._clock = clock
        self._written = itertools.count()
        self._repeats = Repeats()

    @classmethod
    async def take_over(
        cls, session: Session, state: RunState, start: LeaderStarted, *, clock: Callable[[], float]
    ) -> tuple[Self, RunState]:
        """Become the leader by `start`, and replay what was decided before. `state` is that of the empty log.

        Raises `BadMessage` where a record cannot be read, and `Outdated` for the log of a newer release, before
        anything is written: then nobody of this release can lead the run.
        """
        stream = topology.run_log(state.run)
        try:
            log = cls(session, await session.read(stream), stream, start.leader, clock)
        except NotFound:
            raise RunOver from None
        state = await log._read_past(state, start.logic_version)
        await log._publish(start)
        while state.leader != start.leader:
            writer, record = await log._next()
            state = replay(state, [(writer, record)])
        return log, state

    @classmethod
    async def look(cls, session: Session, state: RunState) -> RunState:
        """The state of a run as its log has it now, for one who does not lead it. Raises `RunOver`."""
        stream = topology.run_log(state.run)
        try:
            log = cls(session, await session.read(stream), stream, "", lambda: 0.0)
        except NotFound:
            raise RunOver from None
        try:
            return await log._read_past(state)
        finally:
            await log.close()

    @classmethod
    async def watch(cls, session: Session, run: str) -> AsyncIterator[tuple[str, Record] | str]:
        """Every record with its writer, and the id of every marker, from the first on. Raises `RunOver`."""
        stream = topology.run_log(run)
        try:
            log = cls(session, await session.read(stream), stream, "", lambda: 0.0)
        except NotFound:
            raise RunOver from None
        try:
            while True:
                yield await log._read()
        finally:
            await log.close()

    async def _read_past(self, state: RunState, known: float = math.inf) -> RunState:
        """Replay up to a marker of our own. Raises `Outdated` for rules of a later version than is `known`."""
        marker = uuid.uuid4().hex
        await self._session.publish(Message(b"", type=MARKER, message_id=marker), routing_key=self._stream)
        while (entry := await self._read()) != marker:
            if isinstance(entry, str):
                continue  # somebody else's
            writer, record = entry
            if isinstance(record, LeaderStarted) and record.logic_version > known:
                raise Outdated(
                    f"worker {record.worker} has led it by the rules of version {record.logic_version}, this worker "
                    f"knows those up to version {known}: update this worker, or leave the run to newer ones"
                )
            state = replay(state, [(writer, record)])
        return state

    async def append(self, records: tuple[Record, ...]) -> None:
        """Write records, and return once they are in force. Raises `Deposed`."""
        await asyncio.gather(*(self._publish(record) for record in records))
        missing = len(records)
        while missing:
            writer, record = await self._next()
            if isinstance(record, LeaderStarted):
                raise Deposed
            missing -= writer == self._leader

    async def close(self) -> None:
        await self._entries.close()

    async def _publish(self, record: Record) -> None:
        message = write_record(self._leader, record, number=next(self._written), now=self._clock())
        await self._session.publish(message, routing_key=self._stream)

    async def _next(self) -> tuple[str, Record]:
        while True:
            entry = await self._read()
            if not isinstance(entry, str):
                return entry

    async def _read(self) -> tuple[str, Record] | str:
        """The next record and its writer, or the id of a marker."""
        while True:
            delivery = await anext(self._entries, None)
            if delivery is None:
                raise RunOver
            await delivery.ack()
            if delivery.message.type == MARKER:
                return delivery.message.message_id
            entry, record = read_record(delivery.message)
            if not self._repeats.has(entry):
                return entry.leader, record
