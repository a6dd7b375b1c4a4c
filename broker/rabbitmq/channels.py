"""Channels of a connection, and what keeps one open for the next call."""

import asyncio
from itertools import cycle
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq import Channel, Connection
from aiormq.abc import AbstractChannel, ChannelFrame

from broker.errors import ConnectionLost, Fatal

MAX_CHANNELS: Final = 65_535
"""What AMQP can number, where the broker sets no lower bound."""


class Channels:
    """Opens the channels of one connection."""

    def __init__(self, connection: AbstractConnection) -> None:
        assert connection.transport is not None
        transport = connection.transport.connection
        assert isinstance(transport, Connection)
        self._connection = connection
        self._in_use = transport.channels
        # Left to itself the library opens a number anew before it has answered the broker's Close of the old one, and
        # the broker then closes the connection. Going round, a number rests as long as it can.
        self._most = transport.connection_tune.channel_max or MAX_CHANNELS
        self._numbers = cycle(range(1, self._most + 1))

    async def open(self, *, confirms: bool) -> AbstractChannel:
        """Open a channel; one that confirms raises for each message that is returned or refused."""
        if len(self._in_use) >= self._most:
            raise Fatal(f"all {self._most} channels of the connection are in use: close subscriptions")
        number = next(number for number in self._numbers if number not in self._in_use)
        try:
            wrapped = self._connection.channel(number, publisher_confirms=confirms, on_return_raises=confirms)
            await wrapped.initialize()
            # One level below aio-pika's messages a body is not copied again on its way in or out.
            channel = await wrapped.get_underlay_channel()
        except RuntimeError as error:
            raise ConnectionLost(f"no channel can be opened: {error}") from error
        assert isinstance(channel, Channel)
        channel.write_queue = _Gate(channel.write_queue)
        return channel


class LastingChannel:
    """A channel for one call after another. The broker closes a channel on every refusal; the next call opens anew."""

    def __init__(self, channels: Channels, *, confirms: bool) -> None:
        self._channels = channels
        self._confirms = confirms
        self._channel: AbstractChannel | None = None

    async def get(self) -> AbstractChannel:
        """The open channel. Calls must not overlap."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._channels.open(confirms=self._confirms)
        return self._channel


class _Gate(asyncio.Queue[ChannelFrame]):
    """A channel's way to the socket, shut when the broker has closed the channel.

    The library goes on to send messages for a moment after it has answered the broker's Close, which the broker
    takes for a broken client and closes the whole connection.
    """

    def __init__(self, connection: asyncio.Queue[ChannelFrame]) -> None:
        super().__init__()
        self._connection = connection
        self._shut = False
        self._answer: asyncio.Task[None] | None = None

    async def put(self, frame: ChannelFrame) -> None:
        if self._shut:
            raise ChannelInvalidStateError("the broker closed the channel")
        await self._connection.put(frame)

    def put_nowait(self, frame: ChannelFrame) -> None:
        """The library sends nothing but its answer to a Close this way, and drops it if the queue is full."""
        self._shut = True
        try:
            self._connection.put_nowait(frame)
        except asyncio.QueueFull:
            self._answer = asyncio.create_task(self._connection.put(frame))
