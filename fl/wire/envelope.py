"""Every message between parties: one envelope with a body, its protocol checked before anything else."""

import re
import uuid
from typing import Final

from google.protobuf.message import DecodeError

from broker.base import Message
from fl import __version__
from fl.errors import BadMessage
from fl.wire import messages_pb2
from fl.wire.messages_pb2 import Envelope

PROTOCOL: Final = 1
"""Major version; another one is refused in words."""

Body = (
    messages_pb2.JoinRequest
    | messages_pb2.JoinReply
    | messages_pb2.InitRequest
    | messages_pb2.InitReply
    | messages_pb2.PrivacyRequest
    | messages_pb2.PrivacyReply
    | messages_pb2.TrainRequest
    | messages_pb2.TrainReply
    | messages_pb2.EvaluateRequest
    | messages_pb2.EvaluateReply
    | messages_pb2.StopRequest
    | messages_pb2.CancelRequest
    | messages_pb2.Error
    | messages_pb2.Baton
    | messages_pb2.RunSubmitted
    | messages_pb2.RunClosed
    | messages_pb2.ResumeRequest
    | messages_pb2.RepliesHeld
    | messages_pb2.UpdateRefused
    | messages_pb2.RepliesLacking
    | messages_pb2.BlockSummed
    | messages_pb2.SumFailed
    | messages_pb2.WeightsAhead
)


class OtherProtocol(BadMessage):
    """The sender speaks another major version; `envelope` holds what can be read of it."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        sender = envelope.sender or "the sender"
        super().__init__(
            f"{sender} speaks protocol {envelope.protocol} (fluffle {envelope.version or '?'}), "
            f"this is protocol {PROTOCOL} (fluffle {__version__}): install the same major release on both sides"
        )


def wrap(run: str, sender: str, body: Body, *, now: float) -> Envelope:
    """An envelope around `body`; `now` is in seconds since the epoch."""
    envelope = Envelope(protocol=PROTOCOL, version=__version__, run=run, sender=sender, sent_at=now)
    getattr(envelope, what(body)).CopyFrom(body)
    return envelope


def seal(envelope: Envelope, *, user: str | None = None, correlation_id: str = "") -> Message:
    """The broker's message. `user` must be who the session was authenticated as, or the broker refuses it."""
    return Message(
        envelope.SerializeToString(),
        type=envelope.WhichOneof("body") or "",
        message_id=uuid.uuid4().hex,
        correlation_id=correlation_id,
        user_id=user,
    )


def unseal(message: Message) -> Envelope:
    """Raises `BadMessage` on anything but an envelope with a body, `OtherProtocol` on another major version."""
    try:
        envelope = Envelope.FromString(bytes(message.body))
    except DecodeError:
        raise BadMessage(f"{len(message.body)} bytes of type {message.type!r} are not an envelope") from None
    if envelope.protocol == 0:
        raise BadMessage(f"{len(message.body)} bytes of type {message.type!r} are an envelope without protocol")
    if envelope.protocol != PROTOCOL:
        raise OtherProtocol(envelope)
    if envelope.WhichOneof("body") is None:
        raise BadMessage(
            f"an envelope of {envelope.sender!r} is empty, or holds a body unknown to fluffle {__version__}"
        )
    return envelope


def what(body: Body) -> str:
    """The name of a body's kind, such as `train_request`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", body.DESCRIPTOR.name).lower()


def body_of(envelope: Envelope) -> Body:
    field = envelope.WhichOneof("body")
    if field is None:
        raise BadMessage("an envelope without a body")
    body: Body = getattr(envelope, field)
    return body
