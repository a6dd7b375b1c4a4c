"""Dead letters: messages that nobody could handle, kept with the reason for a person to look at."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker.base import Delivery, Message, Session
from broker.errors import NotFound, Rejected, Unroutable
from broker.topology import DEAD, DEAD_QUEUE

if TYPE_CHECKING:
    from broker.blocking import BlockingBroker, Loan

MOST_REASON: Final = 2000
"""Letters of a reason at most: with the other headers it has to fit into one frame."""

_REASON: Final = "fluffle-reason"
_QUEUE: Final = "fluffle-queue"
_EXCHANGE: Final = "fluffle-exchange"
_AT: Final = "fluffle-buried-at"
_OWN: Final = (_REASON, _QUEUE, _EXCHANGE, _AT)

_VERDICTS: Final = {
    "delivery_limit": "it came back too often: whoever handled it died each time",
    "rejected": "its receiver could not make sense of it",
    "expired": "it was too old",
    "maxlen": "its queue was full",
}
"""What RabbitMQ's own reasons mean here."""

TURN: Final = f"{DEAD_QUEUE.name}.turn"
"""Whoever looks at the dead letters holds all of them, and another one would see none: they take turns."""
TURN_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message, why it is dead, the queue it died in, and how it had come there."""

    message: Message
    reason: str
    queue: str
    """Empty for a message that somebody put among the dead letters directly."""
    exchange: str
    routing_key: str
    died_at: float | None = None
    """In seconds since the epoch."""


async def bury(
    session: Session, delivery: Delivery, *, queue: str, reason: str, clock: Callable[[], float] = time.time
) -> None:
    """Move a message of `queue` to the dead letters, and say why. Where it goes nowhere else it is not lost."""
    headers = _plain(delivery.message.headers)
    headers |= {_REASON: reason[:MOST_REASON], _QUEUE: queue, _EXCHANGE: delivery.exchange, _AT: int(clock())}
    message = replace(delivery.message, user_id=None, headers=headers)
    await session.publish(message, exchange=DEAD.name, routing_key=delivery.routing_key)
    await delivery.ack()


def read_dead_letter(message: Message, *, routing_key: str, died_at: float | None = None) -> DeadLetter:
    """What lies in the queue of dead letters, whether one of us or the broker put it there.

    `died_at` is when the broker did; one of us has written it down.
    """
    headers = message.headers
    if "x-first-death-queue" in headers:  # then what looks like ours is the sender's
        places = ("x-first-death-queue", "x-first-death-exchange")
        verdict = str(headers.get("x-first-death-reason", "unknown"))
        reason = _VERDICTS.get(verdict, verdict)
    else:
        places, reason, died_at = (_QUEUE, _EXCHANGE), str(headers.get(_REASON, "unknown")), _number(headers.get(_AT))
    queue, exchange = (str(headers.get(place, "")) for place in places)
    return DeadLetter(message, reason, queue, exchange, routing_key, died_at)


def revived(letter: DeadLetter) -> Message:
    """The message as it was before it died, to be published to `letter.exchange` with `letter.routing_key` again."""
    headers = {name: value for name, value in _plain(letter.message.headers).items() if name not in _OWN}
    return replace(letter.message, user_id=None, headers=headers)


@contextmanager
def dead_letters(broker: "BlockingBroker") -> Iterator[Iterator["LaidOut"]]:
    """All dead letters, oldest first; those that are not requeued or dropped are as they were when the block ends.

    There are none where nobody has set up a queue for them. Raises `Retryable` while others look at them for long.
    """
    try:
        broker.count(DEAD_QUEUE.name)
    except NotFound:
        yield iter(())
        return
    with broker.turn(TURN, wait_s=TURN_WITHIN_S), broker.borrow(DEAD_QUEUE.name) as loans:
        yield (LaidOut(number, loan, broker) for number, loan in enumerate(loans, start=1))


class LaidOut:
    """A dead letter on the table: its number, what it is, and what may be done with it, once."""

    def __init__(self, number: int, loan: "Loan", broker: "BlockingBroker") -> None:
        self.number = number
        self.letter = read_dead_letter(loan.message, routing_key=loan.routing_key, died_at=loan.died_at)
        self._loan = loan
        self._broker = broker

    @property
    def id(self) -> str:
        """Of the message; one that came without stays so."""
        return self.letter.message.message_id

    def requeue(self) -> None:
        """Publish it again to where it had come to, and take it out of the dead letters when it is safe there.

        Raises `Rejected`, saying why, where it cannot come there any more, and then it stays.
        """
        letter = self.letter
        if not letter.queue:
            raise Rejected("it has died in no queue: somebody put it among the dead letters")
        try:
            self._broker.publish(revived(letter), exchange=letter.exchange, routing_key=letter.routing_key)
        except (NotFound, Unroutable) as error:
            raise Rejected(f"{letter.queue} is gone, and nothing takes it: {error}") from error
        self._loan.take_out()

    def drop(self) -> None:
        """Throw it away."""
        self._loan.take_out()


def _plain(headers: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: value for name, value in headers.items() if not name.startswith("x-")}


def _number(header: str | int | None) -> float | None:
    return float(header) if isinstance(header, int) else None
