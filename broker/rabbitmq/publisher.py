"""Confirmed publishing."""

import asyncio
from typing import cast

from aio_pika.exceptions import ChannelClosed, ChannelInvalidStateError
from aiormq.abc import AbstractChannel

from broker.base import Message
from broker.rabbitmq.channels import Channels, LastingChannel
from broker.rabbitmq.messages import properties_of


class Publisher:
    """Publishes on one channel, many messages on their way at a time.

    A refused message makes the broker close the channel, and every message on its way there fails with it. Each
    of them is then published once more, alone and in order: the refused one is refused again and its publisher
    told why, the others arrive, perhaps twice.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._shared = LastingChannel(channels, confirms=True)
        self._turn = asyncio.Lock()
        self._on_their_way: dict[str, asyncio.Event] = {}

    async def publish(self, message: Message, *, exchange: str, routing_key: str) -> None:
        """Return when the broker has confirmed. Raises what the library raises."""
        async with self._turn:
            channel = await self._shared.get()
        try:
            await self._send(channel, message, exchange=exchange, routing_key=routing_key)
        except (ChannelClosed, ChannelInvalidStateError):
            async with self._turn:
                await self._send_alone(message, exchange=exchange, routing_key=routing_key)

    async def _send_alone(self, message: Message, *, exchange: str, routing_key: str) -> None:
        channel = await self._channels.open(confirms=True)
        try:
            await self._send(channel, message, exchange=exchange, routing_key=routing_key)
        finally:
            await channel.close()

    async def _send(self, channel: AbstractChannel, message: Message, *, exchange: str, routing_key: str) -> None:
        # The library finds the publisher of a returned message by its id, so no two of one id may be on their way.
        while (earlier := self._on_their_way.get(message.message_id)) is not None:
            await earlier.wait()
        arrived = asyncio.Event()
        if message.message_id:
            self._on_their_way[message.message_id] = arrived
        try:
            await channel.basic_publish(
                _octets(message.body),
                exchange=exchange,
                routing_key=routing_key,
                properties=properties_of(message),
                mandatory=True,
            )
        finally:
            if message.message_id:
                del self._on_their_way[message.message_id]
            arrived.set()


def _octets(body: bytes | bytearray | memoryview) -> bytes:
    """The body as the library wants it: it says bytes, and copies from any buffer of single bytes."""
    return cast("bytes", body.cast("B") if isinstance(body, memoryview) else body)
