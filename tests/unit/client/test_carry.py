"""Tensors between the broker and a trainer's memory: what is announced is checked on the way in, and on the way out."""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest

from broker import blob, topology
from broker.base import Session
from broker.connect import open_session
from broker.errors import Unroutable
from fl.client.ahead import Ahead
from fl.client.carry import bring, send
from fl.client.memory import OwnMemory
from fl.core.vector import NumpyVector
from fl.errors import BadMessage
from fl.log import get_log
from fl.wire.bulk import fetch
from fl.wire.messages_pb2 import EvaluateRequest, TrainReply, TrainRequest
from fl.wire.tensors import inline, referring, specs
from fl.wire.tensors_pb2 import Tensors
from fl.wire.trainer_pb2 import Span, TrainerAnswer, TrainerCall

LOG = get_log("test")
ROOM = topology.Room("trial", 1, "ant", "leader")


def vector(value: float) -> NumpyVector:
    return NumpyVector.from_arrays({"w": np.full(1000, value), "n": np.arange(3)})


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    made = await open_session(f"memory://{secrets.token_hex(4)}", name="ant")
    yield made
    await made.close()


async def stored(session: Session, values: NumpyVector, stream: str) -> Tensors:
    return referring(values.layout, await blob.put(session, stream, values.pack()))


# ---- in --------------------------------------------------------------------------------------------------------------


async def test_each_field_that_refers_to_a_stream_has_a_span_of_its_own(session: Session) -> None:
    # Given
    weights, aux = vector(1.0), vector(2.0)
    request = TrainRequest(weights=await stored(session, weights, "w"), aux=await stored(session, aux, "a"))
    memory, call = OwnMemory(), TrainerCall(train=request)
    # When
    await bring(session, memory, call, ahead=Ahead(session, LOG))
    # Then
    assert sorted(call.spans) == ["aux", "weights"]
    assert memory.view(call.spans["weights"]) == weights.pack()
    assert memory.view(call.spans["aux"]) == aux.pack()


async def test_what_is_inside_a_message_stays_there(session: Session) -> None:
    call = TrainerCall(evaluate=EvaluateRequest(weights=inline(vector(1.0))))

    await bring(session, OwnMemory(), call, ahead=Ahead(session, LOG))
    assert not call.spans


def _digest(tensors: Tensors) -> None:
    tensors.ref.sha256 = tensors.digest = bytes(32)


def _announced_digest(tensors: Tensors) -> None:
    tensors.digest = bytes(32)


def _size(tensors: Tensors) -> None:
    tensors.ref.bytes += 8


def _layout(tensors: Tensors) -> None:
    tensors.layout[0].shape[0] += 1


def _stream(tensors: Tensors) -> None:
    tensors.ref.stream = "elsewhere"


@pytest.mark.parametrize("lie", [_digest, _announced_digest, _size, _layout, _stream])
async def test_bytes_that_are_not_what_was_announced_are_refused(
    session: Session, lie: Callable[[Tensors], None]
) -> None:
    # Given
    weights = await stored(session, vector(1.0), "w")
    lie(weights)
    call = TrainerCall(train=TrainRequest(weights=weights))
    # When
    with pytest.raises(BadMessage):
        await bring(session, OwnMemory(), call, ahead=Ahead(session, LOG))
    # Then
    assert not call.spans


# ---- out -------------------------------------------------------------------------------------------------------------


def answer_with(memory: OwnMemory, update: NumpyVector) -> TrainerAnswer:
    """An update that lies in memory."""
    span = memory.reserve(update.layout.nbytes)
    memory.view(span)[:] = update.pack()
    return TrainerAnswer(train=TrainReply(round=1, update=Tensors(layout=specs(update.layout))), spans={"update": span})


async def test_what_a_trainer_left_in_memory_is_referred_to_where_the_leader_made_room(session: Session) -> None:
    # Given
    await session.declare(topology.UP, *ROOM.declaration(max_bytes=1 << 20))
    memory, update = OwnMemory(), vector(-0.5)
    answer = answer_with(memory, update)
    # When
    await send(session, memory, answer, room=replace(ROOM, cargo="x"))
    # Then
    assert answer.train.update.ref.stream == ROOM.stream
    assert await fetch(session, answer.train.update) == update


async def test_what_is_inside_a_reply_stays_there(session: Session) -> None:
    update = inline(vector(1.0))
    answer = TrainerAnswer(train=TrainReply(update=update))

    await send(session, OwnMemory(), answer, room=ROOM)
    assert answer.train.update == update


async def test_without_room_for_it_nothing_is_sent(session: Session) -> None:
    await session.declare(topology.UP)
    memory = OwnMemory()

    with pytest.raises(Unroutable):
        await send(session, memory, answer_with(memory, vector(1.0)), room=ROOM)


async def test_an_update_of_another_size_than_its_tensors_is_refused(session: Session) -> None:
    memory = OwnMemory()
    answer = answer_with(memory, vector(1.0))
    answer.train.update.layout[0].shape[0] += 1

    with pytest.raises(BadMessage, match="the trainer's update has 8024 bytes, where its tensors take 8032"):
        await send(session, memory, answer, room=ROOM)


async def test_an_update_that_lies_nowhere_is_refused(session: Session) -> None:
    answer = answer_with(OwnMemory(), vector(1.0))
    answer.spans["update"].CopyFrom(Span(start=4096, size=8024))

    with pytest.raises(BadMessage, match="8024 bytes at 4096 are not in the memory of this trainer and its daemon"):
        await send(session, OwnMemory(), answer, room=ROOM)
