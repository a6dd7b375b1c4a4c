"""Deliveries of RabbitMQ as an async iterator."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Self

from aiormq import spec
from aiormq.abc import AbstractChannel, DeliveredMessage

from broker.amqp import FROM_FIRST
from broker.errors import ConnectionLost, NotFound, SubscriptionLost
from broker.rabbitmq.lifeline import Lifeline
from broker.rabbitmq.messages import message_of


class RabbitDelivery:
    """A message lent by RabbitMQ."""

    def __init__(
        self, delivered: DeliveredMessage, channel: AbstractChannel, lifeline: Lifeline, *, from_stream: bool
    ) -> None:
        self.message = message_of(delivered.header.properties, delivered.body)
        self.exchange = delivered.exchange or ""
        self.routing_key = delivered.routing_key or ""
        self.redelivered = bool(delivered.redelivered)
        assert delivered.delivery_tag is not None
        self._tag = delivered.delivery_tag
        self._channel = channel
        self._lifeline = lifeline
        self._from_stream = from_stream
        self._settled = False

    async def ack(self) -> None:
        await self._settle(partial(self._channel.basic_ack, self._tag))

    async def nack(self) -> None:
        await self._give_up(requeue=True)

    async def reject(self) -> None:
        await self._give_up(requeue=False)

    async def _give_up(self, *, requeue: bool) -> None:
        # A stream only gives credit; asked to take something back it closes the connection.
        if self._from_stream:
            await self.ack()
            return
        # Not `basic.nack`: from RabbitMQ 4.3 on that does not count towards the delivery limit.
        await self._settle(partial(self._channel.basic_reject, self._tag, requeue=requeue))

    async def _settle(self, send: Callable[[], Awaitable[None]]) -> None:
        # The broker answers a second settlement by closing the channel, with everything else it holds.
        if self._settled:
            raise RuntimeError("this delivery is settled already: settle each once")
        try:
            with self._lifeline.held():
                self._settled = True
                await send()
        except ConnectionLost as error:
            self._lifeline.check()
            raise SubscriptionLost(f"the subscription ended, its unsettled deliveries come again: {error}") from None


class RabbitSubscription:
    """A consumer on a channel of its own. `check_exists` raises `NotFound` once the queue is deleted."""

    def __init__(
        self,
        channel: AbstractChannel,
        lifeline: Lifeline,
        check_exists: Callable[[], Awaitable[object]],
        *,
        from_stream: bool,
    ) -> None:
        self._channel = channel
        self._lifeline = lifeline
        self._check_exists = check_exists
        self._from_stream = from_stream
        self._inbox: deque[DeliveredMessage] = deque()
        self._news = asyncio.Event()
        self._failure: str | None = None
        self._cancelled = False
        self._closed = False

    async def start(self, queue: str, *, prefetch: int) -> None:
        """Begin to consume. Raises what the library raises."""
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        self._channel.closing.add_done_callback(self._on_channel_closed)
        await self._channel.basic_qos(prefetch_count=prefetch)
        arguments = FROM_FIRST if self._from_stream else None
        await self._channel.basic_consume(queue, self._on_message, arguments=arguments)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RabbitDelivery:
        while True:
            self._news.clear()
            self._lifeline.check()
            if self._closed:
                raise StopAsyncIteration
            if self._failure is not None:
                raise SubscriptionLost(f"the broker ended the subscription: {self._failure}")
            if self._cancelled:
                await self._check_deleted()
                raise StopAsyncIteration
            if self._inbox:
                delivered = self._inbox.popleft()
                return RabbitDelivery(delivered, self._channel, self._lifeline, from_stream=self._from_stream)
            with self._lifeline.held():
                await self._news.wait()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._news.set()
        # A lost session has closed the channel for us.
        with suppress(ConnectionLost), self._lifeline.held():
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _check_deleted(self) -> None:
        """Raise `SubscriptionLost` unless the queue is gone: a node that goes down cancels its consumers as well."""
        try:
            await self._check_exists()
        except NotFound:
            return
        raise SubscriptionLost("the broker cancelled the subscription though its queue still exists")

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        self._inbox.append(delivered)
        self._news.set()

    def _on_cancel(self, _: spec.Basic.Cancel) -> None:
        self._cancelled = True
        self._news.set()

    def _on_channel_closed(self, closing: asyncio.Future[None]) -> None:
        reason = None if closing.cancelled() else closing.exception()
        self._failure = str(reason or "the channel is closed")
        self._news.set()
