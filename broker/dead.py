"""Dead letters: messages that nobody could handle, kept with the reason for a person to look at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from broker.base import Delivery, Message, Session
from broker.topology import DEAD

_REASON: Final = "fluffle-reason"
_QUEUE: Final = "fluffle-queue"
_EXCHANGE: Final = "fluffle-exchange"
_OWN: Final = (_REASON, _QUEUE, _EXCHANGE)

_VERDICTS: Final = {
    "delivery_limit": "it came back too often: whoever handled it died each time",
    "rejected": "its receiver could not make sense of it",
    "expired": "it was too old",
    "maxlen": "its queue was full",
}
"""What RabbitMQ's own reasons mean here."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message, why it is dead, the queue it died in, and how it had come there."""

    message: Message
    reason: str
    queue: str
    exchange: str
    routing_key: str


async def bury(session: Session, delivery: Delivery, *, queue: str, reason: str) -> None:
    """Move a message of `queue` to the dead letters, and say why. Where it goes nowhere else it is not lost."""
    headers = {_REASON: reason, _QUEUE: queue, _EXCHANGE: delivery.exchange}
    message = replace(delivery.message, user_id=None, headers={**_plain(delivery.message.headers), **headers})
    await session.publish(message, exchange=DEAD.name, routing_key=delivery.routing_key)
    await delivery.ack()


def read_dead_letter(message: Message, *, routing_key: str) -> DeadLetter:
    """What lies in the queue of dead letters, whether one of us or the broker put it there."""
    headers = message.headers
    verdict = str(headers.get("x-first-death-reason", "unknown"))
    return DeadLetter(
        message=message,
        reason=str(headers.get(_REASON, _VERDICTS.get(verdict, verdict))),
        queue=str(headers.get(_QUEUE, headers.get("x-first-death-queue", ""))),
        exchange=str(headers.get(_EXCHANGE, headers.get("x-first-death-exchange", ""))),
        routing_key=routing_key,
    )


def revived(letter: DeadLetter) -> Message:
    """The message as it was before it died, to be published to `letter.exchange` with `letter.routing_key` again."""
    headers = {name: value for name, value in _plain(letter.message.headers).items() if name not in _OWN}
    return replace(letter.message, user_id=None, headers=headers)


def _plain(headers: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: value for name, value in headers.items() if not name.startswith("x-")}
