"""Messages to a daemon: which run they are about, and what a leader asks for."""

from dataclasses import dataclass

from broker.base import Delivery
from broker.topology import Key, check_name
from fl.errors import BadMessage
from fl.wire.envelope import body_of, unseal
from fl.wire.messages_pb2 import (
    Error,
    EvaluateRequest,
    InitRequest,
    JoinReply,
    PrivacyRequest,
    StopRequest,
    TrainRequest,
    WeightsAhead,
)

RoundRequest = TrainRequest | EvaluateRequest
Request = JoinReply | InitRequest | PrivacyRequest | RoundRequest | StopRequest


@dataclass(frozen=True, slots=True)
class Letter:
    """A request, the run it belongs to, which is that of its routing key, and the leader that asks."""

    delivery: Delivery
    run: str
    leader: str
    request: Request


@dataclass(frozen=True, slots=True)
class Hint:
    """What may help a run's part while it waits for requests, and needs no answer."""

    delivery: Delivery
    run: str
    about: WeightsAhead


def open_letter(delivery: Delivery) -> Letter | Hint:
    """Raises `OtherProtocol`, and `BadMessage` for what no leader sends."""
    try:
        run = check_name(Key.parse(delivery.routing_key).run, "run")  # it also names a directory
    except ValueError as error:
        raise BadMessage(str(error)) from None
    envelope = unseal(delivery.message)
    body = body_of(envelope)
    if isinstance(body, WeightsAhead):
        return Hint(delivery, run, body)
    if not isinstance(body, Request):
        raise BadMessage(f"a {type(body).__name__} is nothing to send to a client")
    return Letter(delivery, run, envelope.sender, body)


def failure(request: Request, text: str, code: "Error.Code" = Error.Code.FAILED) -> Error:
    """Why a request is not answered, for people at the other end."""
    error = Error(code=code, text=text)
    if isinstance(request, RoundRequest):
        error.round, error.weights_digest = request.round, request.weights.digest
    return error
