"""The requests of one run at a daemon: in order of arrival, each once, and settled by its newest delivery."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from broker.base import Delivery
from broker.errors import SubscriptionLost
from fl.client.letters import Letter
from fl.wire.messages_pb2 import WeightsAhead

Identity = tuple[str, bytes]
"""A message's id and all of its content: a message that is delivered again has both."""


class Inbox:
    """Holds each letter from its arrival until it is settled, so that one that comes again meanwhile is known.

    A broker delivers again what it believes to be lost, as after its acknowledgement timeout. The newer delivery then
    takes the place of the older one: the request is handled once, and the newer delivery acknowledged.
    """

    def __init__(self) -> None:
        self._held: dict[Identity, Delivery] = {}
        self._waiting: asyncio.Queue[Letter | WeightsAhead | None] = asyncio.Queue()

    async def put(self, letter: Letter) -> bool:
        """Take a letter in; False when it is in here already, and only its delivery was new."""
        identity = _identity(letter)
        older = self._held.get(identity)
        self._held[identity] = letter.delivery
        if older is None:
            self._waiting.put_nowait(letter)
            return True
        await settle(older)  # of two copies that are both alive one is enough
        return False

    def put_hint(self, hint: WeightsAhead) -> None:
        """Take in what is settled already, to be looked at in its turn."""
        self._waiting.put_nowait(hint)

    def close(self) -> None:
        """Nothing more is to come: the run is closed."""
        self._waiting.put_nowait(None)

    async def take(self) -> Letter | WeightsAhead | None:
        """The next letter or hint, waiting for it; None: the run is closed."""
        return await self._waiting.get()

    async def settle(self, letter: Letter) -> None:
        """Acknowledge a letter that was taken."""
        await settle(self._held.pop(_identity(letter)))

    def rest(self) -> Iterator[Letter]:
        """The letters that wait still, each by its newest delivery."""
        while not self._waiting.empty():
            letter = self._waiting.get_nowait()
            if isinstance(letter, Letter):
                yield replace(letter, delivery=self._held.pop(_identity(letter)))


async def settle(delivery: Delivery) -> None:
    """Acknowledge; where its subscription has ended, the message comes again and is answered from memory."""
    with suppress(SubscriptionLost):
        await delivery.ack()


def _identity(letter: Letter) -> Identity:
    message = letter.delivery.message
    return message.message_id, bytes(message.body)
