"""What AMQP allows of a message and a subscription, checked alike for every backend."""

from typing import Final

from broker.base import Message
from broker.errors import TooLarge

SHORT_TEXT_BYTES: Final = 255
"""AMQP writes the length of a routing key or property in one byte."""


MOST_RECORD_BYTES: Final = 16 * 1024 * 1024
"""The longest record of a stream that is read in bulk: what a broker takes by default."""


def check_message(message: Message, routing_key: str) -> None:
    """Check everything but the body.

    Raises `TooLarge` for a routing key or property beyond its one-byte length, `TypeError` for a header that is
    neither text nor an integer of 64 bits.
    """
    texts = (routing_key, message.type, message.message_id, message.correlation_id, message.content_type)
    for text in texts:
        # Most texts are short, and encoding costs more than counting.
        if len(text) > SHORT_TEXT_BYTES // 4 and len(text.encode()) > SHORT_TEXT_BYTES:
            raise TooLarge(f"{text[:40]!r}… does not fit the {SHORT_TEXT_BYTES} bytes of a routing key or property")
    for name, value in message.headers.items():
        if not isinstance(value, str) and not (isinstance(value, int) and -(2**63) <= value < 2**63):
            raise TypeError(f"header {name!r} is {value!r}: a header is text or an integer of 64 bits")


def check_prefetch(prefetch: int) -> None:
    """Raise `ValueError` unless AMQP can count that many unsettled deliveries; 0 would mean no limit."""
    if not 1 <= prefetch <= 65_535:
        raise ValueError(f"prefetch {prefetch}: use 1 to 65535 unsettled deliveries")
