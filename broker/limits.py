"""What AMQP allows of a message and a subscription, checked alike for every backend."""

from typing import Final

from broker.base import Message
from broker.errors import TooLarge

SHORT_TEXT_BYTES: Final = 255
"""AMQP writes the length of a routing key or property in one byte."""


def check_address(message: Message, routing_key: str) -> None:
    """Raise `TooLarge` if the routing key or a property does not fit its one-byte length."""
    texts = {
        "routing key": routing_key,
        "type": message.type,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "content_type": message.content_type,
    }
    for what, text in texts.items():
        if len(text) > SHORT_TEXT_BYTES or len(text.encode()) > SHORT_TEXT_BYTES:
            raise TooLarge(f"{what} {text[:40]!r}… is longer than {SHORT_TEXT_BYTES} bytes: use a shorter one")


def check_prefetch(prefetch: int) -> None:
    """Raise `ValueError` unless AMQP can count that many unsettled deliveries; 0 would mean no limit."""
    if not 1 <= prefetch <= 65_535:
        raise ValueError(f"prefetch {prefetch}: use 1 to 65535 unsettled deliveries")
