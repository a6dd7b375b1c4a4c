"""Messages as AMQP carries them: a body with properties."""

from pamqp.commands import Basic

from broker.amqp import PERSISTENT, plain_headers
from broker.base import Message


def properties_of(message: Message) -> Basic.Properties:
    return Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        correlation_id=message.correlation_id or None,
        message_id=message.message_id or None,
        message_type=message.type or None,
        user_id=message.user_id,
    )


def message_of(properties: Basic.Properties, body: bytes | memoryview) -> Message:
    return Message(
        body=body,
        type=properties.message_type or "",
        message_id=properties.message_id or "",
        correlation_id=properties.correlation_id or "",
        user_id=properties.user_id,
        content_type=properties.content_type or "",
        headers=plain_headers(properties.headers),
    )
