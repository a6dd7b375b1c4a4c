"""A broker that takes no messages for now: its owner is told, and the connection is not taken for a dead one."""

import asyncio
from collections.abc import Callable
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq import Connection, spec
from aiormq.abc import ChannelFrame

from broker.base import OnBlocked

_HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
"""A frame of type 8 on channel 0 with nothing in it, and its end."""


class Alarm:
    """Listens for the alarms of a connection's broker.

    The library only logs them. It has no hook, so its two handlers are replaced; the contract suite notices if they
    are called otherwise one day.
    """

    def __init__(self, connection: AbstractConnection, on_blocked: OnBlocked) -> None:
        assert connection.transport is not None
        transport = connection.transport.connection
        assert isinstance(transport, Connection)
        self._on_blocked = on_blocked
        self._blocked = False
        for name, handler in (("blocked", self._block), ("unblocked", self._unblock)):
            setattr(transport, f"_Connection__handle_connection_{name}", handler)
        transport.write_queue = _WithoutHeartbeats(transport.write_queue, lambda: self._blocked)

    async def _block(self, frame: spec.Connection.Blocked) -> None:
        self._blocked = True
        self._on_blocked(frame.reason)

    async def _unblock(self, _: spec.Connection.Unblocked) -> None:
        self._blocked = False
        self._on_blocked(None)


class _WithoutHeartbeats(asyncio.Queue[ChannelFrame]):
    """A connection's way to the socket, on which no heartbeats queue up that a blocked broker does not read.

    With bulk on its way there is no room for them, and the library ends a connection that it cannot send one on. The
    broker waits for none meanwhile, and sends its own.
    """

    def __init__(self, socket: asyncio.Queue[ChannelFrame], is_blocked: Callable[[], bool]) -> None:
        super().__init__()
        self._socket = socket
        self._is_blocked = is_blocked

    async def put(self, frame: ChannelFrame) -> None:
        if not (self._is_blocked() and frame.payload == _HEARTBEAT):
            await self._socket.put(frame)

    def put_nowait(self, frame: ChannelFrame) -> None:
        self._socket.put_nowait(frame)
