"""The broker in memory: its lock, its sessions, and the faults a test may ask for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from broker.chaos import Chaos
from broker.errors import ConnectionLost
from broker.memory.session import MemorySession
from broker.memory.store import Store

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The default of RabbitMQ 4."""


class MemoryBroker:
    """Keeps a broker's promises within one process, for sessions in any number of threads and event loops.

    Messages are encoded to bytes and decoded again. With a `chaos` policy it duplicates, reorders and cuts
    as at-least-once delivery allows.
    """

    _named: ClassVar[dict[str, "MemoryBroker"]] = {}
    _named_lock: ClassVar = threading.Lock()

    def __init__(self, *, max_message_bytes: int = MAX_MESSAGE_BYTES, chaos: Chaos | None = None) -> None:
        self._chaos = chaos
        # Reentrant: losing a session may happen while another operation holds the lock.
        self._lock = threading.RLock()
        self._store = Store(max_message_bytes=max_message_bytes, chaos=chaos)
        self._sessions: set[MemorySession] = set()
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
        """Open a session in the running event loop."""
        session = MemorySession(self, user)
        with self._lock:
            self._sessions.add(session)
        return session

    def cut(self, session: MemorySession) -> None:
        """Lose a session, as when its network fails. Any thread may call this."""
        self.end(session, "the connection was cut")

    def cut_all(self) -> None:
        """Lose every session."""
        with self._lock:
            for session in tuple(self._sessions):
                self.cut(session)

    def end(self, session: MemorySession, reason: str) -> None:
        """End a session; harmless when repeated."""
        with self._lock:
            session.die(self._store, reason)
            self._sessions.discard(session)
            self._end_those_gone()

    def report_gone(self, session: MemorySession) -> None:
        """Note that a session's event loop was closed under it, to be ended when the lock is let go."""
        self._gone.add(session)

    @contextmanager
    def locked(self) -> Iterator[Store]:
        """What this broker holds, with its lock."""
        with self._lock:
            yield self._store
            self._end_those_gone()

    @contextmanager
    def locked_for(self, session: MemorySession) -> Iterator[Store]:
        """The same on behalf of a session, which dies of it if chaos wants. Raises `ConnectionLost`."""
        cut = self._chaos.cuts() if self._chaos else None
        with self.locked() as store:
            if cut == "before":
                self.cut(session)
            session.check_alive()
            yield store
            if cut == "after":
                self.cut(session)
                raise ConnectionLost("the connection was cut before the broker's answer came")

    def _end_those_gone(self) -> None:
        while self._gone:
            session = self._gone.pop()
            session.die(self._store, "its event loop was closed")
            self._sessions.discard(session)
