"""Messages as bytes and back, for the broker that lives in memory: nothing is shared by reference."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from broker.base import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message as the broker holds it: immutable, and unknown to whoever published it."""

    properties: bytes
    body: bytes


def encode(message: Message) -> Encoded:
    """Copy a message into bytes. Raises `TypeError` for headers that are neither text nor integers."""
    _check_headers(message.headers)
    properties = (
        message.type,
        message.message_id,
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


def _check_headers(headers: Mapping[str, str | int]) -> None:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, (str, int)):
            raise TypeError(f"header {name!r} is {value!r}: a header is text or an integer under a text name")
