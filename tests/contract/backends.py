"""The backends that the contract is checked on, with the faults a test may ask for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

from broker.base import Delivery, QueueCount, Session, Subscription
from broker.connect import open_session
from broker.local import LocalRabbit
from broker.memory import MemoryBroker, MemorySession
from tests.rabbit_tools import MAX_MESSAGE_BYTES, Cuttable

PATIENCE_S = 20.0
"""How long a test waits for what must happen; far longer than it takes."""


class Backend(Protocol):
    """A broker to make sessions with, and to lose them."""

    async def connect(self, user: str = "guest") -> Session: ...

    def cut(self, session: Session) -> None:
        """Lose a session without a word to either side."""

    async def stop(self) -> None: ...


class MemoryBackend:
    def __init__(self) -> None:
        self._broker = MemoryBroker(max_message_bytes=MAX_MESSAGE_BYTES)

    async def connect(self, user: str = "guest") -> Session:
        return self._broker.connect(user)

    def cut(self, session: Session) -> None:
        assert isinstance(session, MemorySession)
        self._broker.cut(session)

    async def stop(self) -> None:
        self._broker.cut_all()


class RabbitBackend:
    def __init__(self, rabbit: LocalRabbit) -> None:
        self._rabbit = rabbit
        self._wires: dict[Session, Cuttable] = {}

    async def connect(self, user: str = "guest") -> Session:
        port = urlsplit(self._rabbit.url).port
        assert port is not None
        wire = await Cuttable(port).start()
        session = await open_session(f"amqp://{user}:guest@127.0.0.1:{wire.port}/", name="contract")
        self._wires[session] = wire
        return session

    def cut(self, session: Session) -> None:
        self._wires[session].cut()

    async def stop(self) -> None:
        for session, wire in self._wires.items():
            await session.close()
            await wire.stop()


async def take(subscription: Subscription, count: int = 1) -> list[Delivery]:
    """The next `count` deliveries; fails if they do not come."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(subscription) for _ in range(count)]


async def take_one(subscription: Subscription) -> Delivery:
    return (await take(subscription))[0]


async def bodies(subscription: Subscription, count: int) -> list[bytes]:
    """The bodies of the next `count` deliveries, each acknowledged."""
    found = []
    for _ in range(count):
        delivery = await take_one(subscription)
        found.append(bytes(delivery.message.body))
        await delivery.ack()
    return found


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the answer is yes; fails if it never is."""
    async with asyncio.timeout(PATIENCE_S):
        while not await question():
            await asyncio.sleep(0.01)


async def until_counted(session: Session, name: str, expected: QueueCount) -> None:
    async def counted() -> bool:
        return await session.count(name) == expected

    await until(counted)
