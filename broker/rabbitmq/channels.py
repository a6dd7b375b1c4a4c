"""Channels of a connection, and what keeps one open for the next call."""

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from broker.errors import ConnectionLost


class Channels:
    """Opens the channels of one connection."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def open(self, *, confirms: bool) -> AbstractChannel:
        """Open a channel; one that confirms raises for each message that is returned or refused."""
        try:
            channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            await channel.initialize()
            # One level below aio-pika's messages a body is not copied again on its way in or out.
            return await channel.get_underlay_channel()
        except RuntimeError as error:
            raise ConnectionLost(f"no channel can be opened: {error}") from error


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
