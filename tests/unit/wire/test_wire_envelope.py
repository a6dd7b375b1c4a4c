"""One envelope for every message, and nothing else gets through."""

from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.base import PROTOBUF, Message
from fl import __version__
from fl.errors import BadMessage
from fl.wire.envelope import PROTOCOL, Body, OtherProtocol, body_of, seal, unseal, what, wrap
from fl.wire.messages_pb2 import CancelRequest, Envelope, EvaluateReply, JoinRequest, TrainReply

BODIES: dict[str, Any] = {
    field.name: type(getattr(Envelope(), field.name)) for field in Envelope.DESCRIPTOR.oneofs_by_name["body"].fields
}


def test_every_body_of_the_schema_is_a_body_in_the_code() -> None:
    # Then
    assert set(get_args(Body)) == set(BODIES.values())


@pytest.mark.parametrize("name", BODIES)
def test_every_body_comes_back_as_it_was(name: str) -> None:
    # Given
    body = BODIES[name]()
    # When
    message = seal(wrap("run-1", "site-1", body, now=12.5))
    envelope = unseal(message)
    # Then
    assert (type(body_of(envelope)), body_of(envelope)) == (type(body), body)
    assert message.type == what(body) == name


def test_a_body_keeps_its_content() -> None:
    # Given
    body = TrainReply(round=3, weights_digest=b"digest", n_steps=5, seconds=0.5)
    # When
    received = body_of(unseal(seal(wrap("run-1", "site-1", body, now=0))))
    # Then
    assert received == body


def test_an_envelope_says_who_speaks_what_and_when() -> None:
    # When
    envelope = unseal(seal(wrap("run-1", "site-1", CancelRequest(), now=12.5)))
    # Then
    assert (envelope.run, envelope.sender, envelope.sent_at) == ("run-1", "site-1", 12.5)
    assert (envelope.protocol, envelope.version) == (PROTOCOL, __version__)


def test_a_message_carries_what_the_broker_is_to_know() -> None:
    # When
    message = seal(wrap("run-1", "site-1", CancelRequest(), now=0), user="site-1", correlation_id="request-7")
    # Then
    assert (message.type, message.user_id, message.correlation_id) == ("cancel_request", "site-1", "request-7")
    assert message.content_type == PROTOBUF


def test_no_two_messages_have_the_same_id() -> None:
    # Given
    envelope = wrap("run-1", "site-1", CancelRequest(), now=0)
    # When
    first, second = seal(envelope), seal(envelope)
    # Then
    assert first.message_id != second.message_id


def test_a_body_may_lie_in_any_buffer() -> None:
    # Given
    message = seal(wrap("run-1", "site-1", CancelRequest(reason="enough"), now=0))
    # When
    envelope = unseal(Message(memoryview(bytearray(message.body))))
    # Then
    assert envelope.cancel_request.reason == "enough"


# ---- what does not get through --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        pytest.param(b"\xff", "1 bytes of type 'train_reply' are not an envelope", id="noise"),
        pytest.param(b"", "0 bytes of type 'train_reply' are an envelope without protocol", id="nothing"),
        pytest.param(
            Envelope(protocol=PROTOCOL, sender="site-1").SerializeToString(),
            f"an envelope of 'site-1' is empty, or holds a body unknown to fluffle {__version__}",
            id="no body",
        ),
        pytest.param(
            Envelope(protocol=PROTOCOL, sender="site-1").SerializeToString() + b"\xfa\x06\x00",
            f"an envelope of 'site-1' is empty, or holds a body unknown to fluffle {__version__}",
            id="a body that is yet to be invented",
        ),
    ],
)
def test_what_is_no_envelope_is_refused_in_words(envelope: bytes, reason: str) -> None:
    # Then
    with pytest.raises(BadMessage) as caught:
        # When
        unseal(Message(envelope, type="train_reply"))
    assert str(caught.value) == reason


def test_an_envelope_without_a_body_has_none_to_give() -> None:
    # Then
    with pytest.raises(BadMessage, match="without a body"):
        # When
        body_of(Envelope())


def test_another_protocol_is_refused_with_what_to_do() -> None:
    # Given
    envelope = wrap("run-1", "site-1", JoinRequest(), now=0)
    envelope.protocol, envelope.version = 2, "7.1"
    # Then
    with pytest.raises(OtherProtocol) as caught:
        # When
        unseal(seal(envelope))
    assert str(caught.value) == (
        f"site-1 speaks protocol 2 (fluffle 7.1), this is protocol {PROTOCOL} (fluffle {__version__}): "
        "install the same major release on both sides"
    )


def test_another_protocol_is_refused_before_its_body_is_looked_for() -> None:
    # Given
    envelope = Envelope(protocol=2)
    # Then
    with pytest.raises(OtherProtocol, match="the sender speaks protocol 2") as caught:
        # When
        unseal(seal(envelope))
    assert caught.value.envelope == envelope


GOOD = seal(wrap("run-1", "site-1", EvaluateReply(round=1, loss_sum=0.5), now=0)).body


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good envelope with a byte changed, or cut off."""
    spot = draw(st.integers(0, len(GOOD) - 1))
    return bytes(GOOD[:spot]) + draw(st.binary(max_size=1)) + bytes(GOOD[spot + 1 :] if draw(st.booleans()) else b"")


@given(st.binary(max_size=64) | spoilt())
@example(b"\x08\x01\xba\x01\x00")
def test_any_bytes_are_refused_or_are_an_envelope_with_a_body(body: bytes) -> None:
    # When
    try:
        envelope = unseal(Message(body))
    except BadMessage:
        return
    # Then
    assert envelope.protocol == PROTOCOL
    assert type(body_of(envelope)) in BODIES.values()
