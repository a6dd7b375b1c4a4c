"""Messages to a run's leader: who sent them, what they say, and which event that is."""

import math
from dataclasses import dataclass
from typing import Final

from broker.blob import BlobRef
from broker.topology import DOWN, UP, Cargo, Key, Room
from fl.core.data_info import DataInfo
from fl.core.layout import Layout, check_same
from fl.errors import BadMessage, DataError
from fl.run import shard_events
from fl.run.dealing import shard_for
from fl.run.events import (
    CancelAsked,
    ClientFailed,
    InitAnswered,
    Input,
    JoinAsked,
    Kind,
    Replied,
    ResumeAsked,
    Trouble,
    UpdateUnusable,
)
from fl.run.spec import compression_of
from fl.run.state import RunState
from fl.run.terms import PrivacySettled
from fl.server.fold import metrics_of
from fl.server.spool import Spooled
from fl.wire.bulk import checked_ref
from fl.wire.envelope import OtherProtocol, body_of, unseal
from fl.wire.messages_pb2 import (
    Baton,
    BlockSummed,
    CancelRequest,
    Envelope,
    Error,
    EvaluateReply,
    InitReply,
    JoinRequest,
    PrivacyReply,
    RepliesHeld,
    RepliesLacking,
    ResumeRequest,
    SumFailed,
    TrainReply,
    UpdateRefused,
)
from fl.wire.tensors import open_parcel, read_data_info, read_inline, read_layout
from fl.wire.tensors_pb2 import Tensors
from fl.wire.terms import vet_terms
from fl.words import words

OfShards = RepliesHeld | UpdateRefused | RepliesLacking | BlockSummed | SumFailed
"""What other workers tell the leader of a run."""

_TROUBLES = {
    Error.Code.UNINITIALISED: Trouble.UNINITIALISED,
    Error.Code.REFUSED: Trouble.REFUSED,
    Error.Code.VERSION: Trouble.VERSION,
}

MOST: Final = 2**40
"""More samples, or features of a sample, than data have."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message with its sender, which the broker vouches for; the sender is empty for the run's owner."""

    delivery: Spooled
    sender: str
    body: object
    problem: str | None = None

    @property
    def is_baton(self) -> bool:
        return isinstance(self.body, Baton)

    @property
    def route(self) -> str:
        """The word that its routing key ends with beyond what all have."""
        return Key.parse(self.delivery.routing_key).route if self.sender else ""


def open_letter(delivery: Spooled) -> Letter:
    """What is at hand. Raises `BadMessage` for what nobody can make sense of."""
    sender = sender_of(delivery)
    try:
        envelope = unseal(delivery.message)
    except OtherProtocol as error:
        if error.envelope.WhichOneof("body") != "join_request":
            raise
        return Letter(delivery, sender, JoinRequest(), problem=str(error))
    return Letter(delivery, sender, _checked_body(envelope, sender))


async def said_in(delivery: Spooled) -> object:
    """The body of a letter that was opened before, and is held."""
    async with delivery.at_hand():
        return body_of(unseal(delivery.message))


def sender_of(delivery: Spooled) -> str:
    """The client in the routing key of `fl.up`, where the broker lets each publish under its own name only."""
    if delivery.exchange == "":
        return ""
    if delivery.exchange != UP.name:
        raise BadMessage(f"came by exchange {delivery.exchange!r}, not {UP.name!r} or {DOWN.name!r}")
    try:
        return Key.parse(delivery.routing_key).client
    except ValueError as error:
        raise BadMessage(str(error)) from None


def _checked_body(envelope: Envelope, sender: str) -> object:
    body = body_of(envelope)
    owners = isinstance(body, CancelRequest | ResumeRequest | Baton | OfShards)
    clients = isinstance(body, JoinRequest | InitReply | PrivacyReply | TrainReply | EvaluateReply | Error)
    if not (owners or clients):
        raise BadMessage(f"a {envelope.WhichOneof('body')} is nothing to send to a leader")
    if owners and sender:
        raise BadMessage(f"client {sender} may not send a {envelope.WhichOneof('body')}")
    if clients and not sender:
        raise BadMessage(f"a {envelope.WhichOneof('body')} must come through {UP.name}")
    return body


def read_event(letter: Letter, state: RunState) -> Input:
    """What a letter means to the run; replies to the open round are vetted here, but for what is in their bulk."""
    client, body = letter.sender, letter.body
    match body:
        case JoinRequest():
            return _asked_to_join(letter, body)
        case InitReply():
            return InitAnswered(client)
        case PrivacyReply():
            return _privacy_settled(client, body)
        case TrainReply():
            return Replied(client, Kind.TRAIN, body.round, body.weights_digest, vet_update(letter, body, state))
        case EvaluateReply():
            return Replied(client, Kind.EVALUATE, body.round, body.weights_digest, _vet_evaluation(letter, body, state))
        case Error():
            trouble = _TROUBLES.get(body.code, Trouble.FAILED)
            return ClientFailed(client, trouble, words(body.text), body.round, body.weights_digest)
        case RepliesHeld() | UpdateRefused() | RepliesLacking() | BlockSummed() | SumFailed():
            return _told_by_shard(body, state)
        case CancelRequest():
            return CancelAsked(body.reason)
        case ResumeRequest():
            return ResumeAsked()
    raise TypeError(f"no event for {type(body).__name__}")


def _privacy_settled(client: str, body: PrivacyReply) -> PrivacySettled | ClientFailed:
    try:
        return PrivacySettled(client, vet_terms(body))
    except BadMessage as error:
        return ClientFailed(client, Trouble.FAILED, f"its terms of privacy: {error}")


def _told_by_shard(body: OfShards, state: RunState) -> Input:
    round_, base = body.round, body.weights_digest
    match body:
        case RepliesHeld(clients=clients):
            return shard_events.RepliesHeld(tuple(clients), round_, base)
        case RepliesLacking(clients=clients):
            return shard_events.RepliesLacking(tuple(clients), round_, base, queue_lost=body.queue_lost)
        case BlockSummed(block=block):
            return shard_events.BlockSummed(block, tuple(part.client for part in body.parts), round_, base)
        case SumFailed(reason=reason):
            return shard_events.SumFailed(reason, round_, base)
        case UpdateRefused(client=client, problem=problem):
            if body.held and _is_open(state, round_, base):
                return UpdateUnusable(client, problem, again=body.again)
            return Replied(client, Kind.TRAIN, round_, base, problem)


def _is_open(state: RunState, round_: int, base: bytes) -> bool:
    """Whether this training round is open, from these weights."""
    if state.open is None or state.base is None:
        return False
    opened = state.open.opened
    return (opened.kind, opened.round, state.base.digest) == (Kind.TRAIN, round_, base)


def _asked_to_join(letter: Letter, body: JoinRequest) -> JoinAsked:
    """Data info that nobody can have is a reason to refuse, in words."""
    try:
        info = read_data_info(body.data_info)
    except (BadMessage, DataError) as error:
        return JoinAsked(letter.sender, DataInfo(0), letter.problem or str(error))
    most = max(info.n_samples, info.n_features or 0, *(info.input_shape or ()))
    problem = f"its data info claims {most} samples or features, which nobody has" if most > MOST else None
    return JoinAsked(letter.sender, info, letter.problem or problem)


def vet_update(letter: Letter, reply: TrainReply, state: RunState) -> str | None:
    """Why this update must not enter the sum, as far as the message itself tells; None if it may."""
    if state.weights is None or state.open is None or letter.sender not in state.wanted:
        return None  # it will be dropped, whatever it holds
    shard = shard_for(state.spec, state.open.opened, letter.sender)
    if letter.route != ("" if shard is None else str(shard)):
        return "its reply came by another way than the request says: is its release older than that of the workers?"
    try:
        _check_form(reply.update, read_layout(open_parcel(state.weights).layout))
        _check_origin(checked_ref(reply.update, compression_of(state.spec)), letter, reply, state, "u")
    except (BadMessage, ValueError) as error:
        return f"its update is not usable: {error}"
    try:
        _check_origin(checked_ref(reply.aux), letter, reply, state, "x")
    except BadMessage as error:
        return f"what its optimizer sent is not usable: {error}"
    return None


def _check_form(tensors: Tensors, expected: Layout) -> None:
    check_same(read_layout(tensors.layout), expected)


def _check_origin(ref: BlobRef | None, letter: Letter, reply: TrainReply, state: RunState, cargo: Cargo) -> None:
    """Bulk lies where one of those who led the round has made room for it."""
    if ref is None:
        return
    leaders = state.asked_by.get(reply.round, ())
    if ref.stream not in {Room(state.run, reply.round, letter.sender, leader, cargo).stream for leader in leaders}:
        raise BadMessage(f"its bytes are said to be in {ref.stream}, which is not the stream for it")


def _vet_evaluation(letter: Letter, reply: EvaluateReply, state: RunState) -> str | None:
    """Why this evaluation must not enter the sum; None if it may. A loss that is not finite is a result like others."""
    if letter.sender not in state.wanted:
        return None  # it will be dropped, whatever it holds
    if not 0 <= reply.weight_sum < math.inf:
        return f"its evaluation is not usable: the weights sum to {reply.weight_sum}"
    if not reply.HasField("metrics"):
        return None
    try:
        states = read_inline(reply.metrics)
        metrics_of(state.spec).merge(states.arrays())
    except (BadMessage, ValueError) as error:
        return f"its evaluation is not usable: {error}"
    name = states.first_nonfinite()
    return None if name is None else f"its evaluation is not usable: {name!r} has values that are NaN or infinite"
