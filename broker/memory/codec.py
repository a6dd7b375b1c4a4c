"""Messages as bytes and back, for the broker that lives in memory: nothing is shared by reference."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from broker.base import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message as the broker holds it: immutable, and unknown to whoever published it."""

    properties: bytes
    body: bytes


def encode(message: Message) -> Encoded:
    """Copy a message into bytes; one without an id gets a random one, as AMQP libraries do."""
    properties = (
        message.type,
        message.message_id or secrets.token_hex(16),
        message.correlation_id,
        message.user_id,
        message.content_type,
        dict(message.headers),
    )
    return Encoded(json.dumps(properties).encode(), bytes(message.body))


def decode(encoded: Encoded, extra_headers: Mapping[str, str | int]) -> Message:
    """Build a message from bytes, with the headers that the broker adds on delivery."""
    type_, message_id, correlation_id, user_id, content_type, headers = json.loads(encoded.properties)
    return Message(
        body=encoded.body,
        type=type_,
        message_id=message_id,
        correlation_id=correlation_id,
        user_id=user_id,
        content_type=content_type,
        headers=headers | extra_headers,
    )
