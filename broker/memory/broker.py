"""The broker in memory: its lock, its sessions, and the faults a test may ask for."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from broker.chaos import Chaos, Fault, delay_s
from broker.errors import ConnectionLost, Unreachable
from broker.memory.session import MemorySession
from broker.memory.store import Store

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The default of RabbitMQ 4."""


class MemoryBroker:
    """Keeps a broker's promises within one process, for sessions in any number of threads and event loops.

    Messages are encoded to bytes and decoded again. With `chaos`, what at-least-once delivery allows happens.
    """

    _named: ClassVar[dict[str, "MemoryBroker"]] = {}
    _named_lock: ClassVar = threading.Lock()

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES, chaos: Chaos | None = None) -> None:
        self.chaos: Final = chaos
        # Reentrant: losing a session may happen while another operation holds the lock.
        self._lock = threading.RLock()
        self._store = Store(max_message_bytes=max_message_bytes, chaos=chaos)
        # A dict where a set would do: its order is that of their making, and chaos must find them in it.
        self._sessions: dict[MemorySession, None] = {}
        self._gone: set[MemorySession] = set()

    @classmethod
    def named(cls, name: str) -> "MemoryBroker":
        """The broker that `memory://name` means in this process, made on first use."""
        with cls._named_lock:
            if name not in cls._named:
                cls._named[name] = cls()
            return cls._named[name]

    @classmethod
    def forget(cls, name: str) -> None:
        """Drop the broker of that name with all it holds; a name never used is no error."""
        with cls._named_lock:
            broker = cls._named.pop(name, None)
        if broker is not None:
            broker.cut_all()

    def connect(self, user: str = "guest") -> MemorySession:
        """Open a session in the running event loop. Raises `Unreachable` if chaos wants."""
        if self.chaos is not None and self.chaos.strikes(Fault.REFUSE) is not None:
            raise Unreachable("nobody answers: chaos")
        session = MemorySession(self, user)
        with self._lock:
            self._sessions[session] = None
        return session

    def cut(self, session: MemorySession) -> None:
        """Lose a session, as when its network fails. Any thread may call this."""
        self.end(session, "the connection was cut")

    def cut_all(self) -> None:
        """Lose every session."""
        with self._lock:
            for session in tuple(self._sessions):
                self.cut(session)

    def leave_ghost(self, session: MemorySession, seconds: float) -> None:
        """Lose a session that this broker takes for alive so much longer: what it holds, nobody else gets."""
        with self._lock:
            session.die("the connection was cut")
        asyncio.get_running_loop().call_later(seconds, self.cut, session)

    def end(self, session: MemorySession, reason: str) -> None:
        """End a session; harmless when repeated."""
        with self._lock:
            self._part_with(session, reason)
            self._end_those_gone()

    def report_gone(self, session: MemorySession) -> None:
        """Note that a session's event loop was closed under it, to be ended when the lock is let go."""
        self._gone.add(session)

    def stir(self) -> None:
        """One chance for all that happens unasked. A test calls this wherever something may happen."""
        if self.chaos is None:
            return
        for fault in (Fault.CUT, Fault.GHOST, Fault.TAKE_BACK, Fault.CUT_ALL):
            how = self.chaos.strikes(fault)
            if how is not None:
                self._strike(fault, how)

    @contextmanager
    def locked(self) -> Iterator[Store]:
        """What this broker holds, with its lock."""
        with self._lock:
            yield self._store
            self._end_those_gone()

    @contextmanager
    def locked_for(self, session: MemorySession) -> Iterator[Store]:
        """The same on behalf of a session, which dies of it if chaos wants. Raises `ConnectionLost`."""
        before, after = self._cuts()
        with self.locked() as store:
            if before:
                self.cut(session)
            session.check_alive()
            yield store
            if after:
                self.cut(session)
                raise ConnectionLost("the connection was cut before the broker's answer came")

    def _cuts(self) -> tuple[bool, bool]:
        """Whether the session that asks for something is lost before, and after, it was done."""
        if self.chaos is None:
            return False, False
        before, after = (self.chaos.strikes(fault) for fault in (Fault.CUT_BEFORE, Fault.CUT_AFTER))
        return before is not None, after is not None

    def _strike(self, fault: Fault, how: int) -> None:
        """Let a fault of those that nobody asked for happen; `how` says to whom, and for how long."""
        with self._lock:
            sessions = tuple(self._sessions)
            which, rest = how % max(len(sessions), 1), how // max(len(sessions), 1)
            if fault is Fault.CUT_ALL:
                self.cut_all()
            elif fault is Fault.TAKE_BACK:
                self._take_one_back(how)
            elif sessions and fault is Fault.CUT:
                self.cut(sessions[which])
            elif sessions:
                self.leave_ghost(sessions[which], delay_s(rest))

    def _take_one_back(self, how: int) -> None:
        held = [(session, consumer) for session in self._sessions for consumer in session.debtors()]
        if held:
            session, consumer = held[how % len(held)]
            session.take_back(self._store, consumer)

    def _end_those_gone(self) -> None:
        while self._gone:
            self._part_with(self._gone.pop(), "its event loop was closed")

    def _part_with(self, session: MemorySession, reason: str) -> None:
        session.die(reason)
        session.let_go(self._store)
        self._sessions.pop(session, None)
