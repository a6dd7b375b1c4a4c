"""What is read before it is asked for: the right bytes, in no more memory, or nothing at all."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from broker import blob
from broker.base import Message, Session, Stream
from broker.blob import BlobRef, unproven
from broker.connect import open_session
from fl.client.ahead import Ahead
from fl.client.carry import bring
from fl.client.memory import Memory, OwnMemory
from fl.client.shared_memory import SharedMemory
from fl.log import get_log
from fl.wire.messages_pb2 import TrainRequest
from fl.wire.tensors import referring
from fl.wire.trainer_pb2 import Span, TrainerCall
from tests.scarcity import no_file_above
from tests.unit.wire.tensors_of import a_vector

WEIGHTS: Final = a_vector(100_000)
DATA: Final = WEIGHTS.pack()
CHUNK: Final = 50_000
KINDS: dict[str, Callable[[], Memory]] = {"shared": SharedMemory.create, "own": OwnMemory}


@pytest.fixture(params=KINDS)
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = KINDS[request.param]()
    yield made
    made.close()


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    made = await open_session(f"memory://{secrets.token_hex(4)}", name="ant")
    yield made
    await made.close()


@pytest.fixture
async def ahead(session: Session) -> AsyncIterator[Ahead]:
    made = Ahead(session, get_log("test"))
    yield made
    await made.drop()


def announced(stream: str = "w") -> BlobRef:
    return unproven(stream, DATA, CHUNK)


async def half_written(session: Session, stream: str = "w") -> None:
    await session.declare(Stream(stream))
    for chunk in list(blob.cut(DATA, CHUNK))[: announced().chunks // 2]:
        await session.publish(chunk, routing_key=stream)


async def until_read(session: Session, stream: str = "w") -> None:
    """Wait until somebody reads it."""
    async with asyncio.timeout(20.0):
        while not (await session.count(stream)).consumers:
            await asyncio.sleep(0.01)


async def until_read_whole(ahead: Ahead) -> None:
    assert ahead._reading is not None
    await asyncio.wait({ahead._reading})


async def n_readers(session: Session, stream: str = "w") -> int:
    return (await session.count(stream)).consumers


# ---- the right bytes -----------------------------------------------------------------------------------------------


async def test_what_was_read_while_it_was_written_is_there(session: Session, ahead: Ahead, memory: Memory) -> None:
    # Given
    await session.declare(Stream("w"))
    await ahead.begin(announced(), memory)
    await until_read(session)
    # When
    wanted = await blob.write(session, "w", DATA, chunk_bytes=CHUNK)
    span = await ahead.claim(wanted)
    # Then
    assert span is not None
    assert memory.view(span) == DATA


async def test_a_claim_waits_for_bytes_that_are_still_to_come(session: Session, ahead: Ahead, memory: Memory) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), memory)
    # When
    claim = asyncio.ensure_future(ahead.claim(blob.ref_of("w", DATA, CHUNK)))
    await until_read(session)
    await blob.write(session, "w", DATA, chunk_bytes=CHUNK)
    # Then
    span = await claim
    assert span is not None
    assert memory.view(span) == DATA


async def test_what_is_told_twice_is_read_once(session: Session, ahead: Ahead) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), OwnMemory())
    await until_read(session)
    # When
    await ahead.begin(announced(), OwnMemory())
    # Then
    assert await n_readers(session) == 1


# ---- or nothing ----------------------------------------------------------------------------------------------------


async def test_other_bytes_than_the_request_names_are_not_given_out(
    session: Session, ahead: Ahead, memory: Memory
) -> None:
    # Given
    await ahead.begin(announced(), memory)
    wanted = await blob.put(session, "w", DATA, chunk_bytes=CHUNK)
    # Then
    assert await ahead.claim(replace(wanted, sha256=bytes(32))) is None


OTHERS: Final[dict[str, Callable[[BlobRef], BlobRef | None]]] = {
    "another stream": lambda ref: replace(ref, stream="w2"),
    "another size": lambda ref: replace(ref, size=ref.size + 1),
    "more chunks": lambda ref: replace(ref, chunks=ref.chunks + 1),
    "another edition": lambda ref: replace(ref, edition=1),
    "nothing in a stream": lambda _: None,
}


@pytest.mark.parametrize("other", OTHERS)
async def test_a_request_for_something_else_ends_the_reading_at_once(
    session: Session, ahead: Ahead, other: str
) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), OwnMemory())
    await until_read(session)
    # When
    span = await ahead.claim(OTHERS[other](blob.ref_of("w", DATA, CHUNK)))
    # Then
    assert span is None
    assert await n_readers(session) == 0


async def test_other_weights_that_are_told_of_take_the_place_of_the_first(session: Session, ahead: Ahead) -> None:
    # Given
    await half_written(session, "w1")
    await half_written(session, "w2")
    await ahead.begin(announced("w1"), OwnMemory())
    await until_read(session, "w1")
    # When
    await ahead.begin(announced("w2"), OwnMemory())
    await until_read(session, "w2")
    # Then
    assert await n_readers(session, "w1") == 0


async def test_a_stream_that_is_deleted_under_the_reader_costs_nothing_but_what_was_read(
    session: Session, ahead: Ahead, memory: Memory
) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), memory)
    await until_read(session)
    # When
    await session.delete("w")
    # Then
    assert await ahead.claim(blob.ref_of("w", DATA, CHUNK)) is None


async def test_a_stream_that_is_not_there_is_no_error(ahead: Ahead, memory: Memory) -> None:
    await ahead.begin(announced(), memory)

    assert await ahead.claim(blob.ref_of("w", DATA, CHUNK)) is None


async def test_a_session_that_ends_is_no_error_of_the_reader(session: Session, ahead: Ahead, memory: Memory) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), memory)
    await until_read(session)
    # When
    await session.close()
    # Then
    assert await ahead.claim(blob.ref_of("w", DATA, CHUNK)) is None


async def test_a_writer_that_never_goes_on_is_not_waited_for_longer_than_the_broker_may_take(
    session: Session, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    monkeypatch.setattr("fl.client.ahead.NEXT_CHUNK_S", 0.1)
    await half_written(session)
    # When
    await ahead.begin(announced(), OwnMemory())
    # Then
    assert await ahead.claim(blob.ref_of("w", DATA, CHUNK)) is None
    assert await n_readers(session) == 0


async def test_what_is_no_chunk_is_read_no_further(session: Session, ahead: Ahead) -> None:
    await session.declare(Stream("w"))
    await session.publish(Message(b"", type="note"), routing_key="w")

    await ahead.begin(announced(), OwnMemory())

    assert await ahead.claim(blob.ref_of("w", DATA, CHUNK)) is None


async def test_nothing_is_read_where_there_is_no_memory_for_it(session: Session, ahead: Ahead) -> None:
    # Given
    wanted = await blob.put(session, "w", DATA, chunk_bytes=CHUNK)
    memory = SharedMemory.create()
    # When
    with no_file_above(4096):
        await ahead.begin(announced(), memory)
        span = await ahead.claim(wanted)
    memory.close()
    # Then
    assert span is None


# ---- the end -------------------------------------------------------------------------------------------------------


async def test_who_is_dropped_in_the_middle_is_done_with_the_memory(session: Session, ahead: Ahead) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), OwnMemory())
    await until_read(session)
    # When
    await ahead.drop()
    # Then
    assert await n_readers(session) == 0


async def test_dropping_is_harmless_when_nothing_is_read(ahead: Ahead) -> None:
    await ahead.drop()

    assert await ahead.claim(announced()) is None


async def test_a_claim_that_is_cancelled_ends_the_reading(session: Session, ahead: Ahead) -> None:
    # Given
    await half_written(session)
    await ahead.begin(announced(), OwnMemory())
    claim = asyncio.ensure_future(ahead.claim(blob.ref_of("w", DATA, CHUNK)))
    await until_read(session)
    # When
    claim.cancel()
    await asyncio.wait({claim})
    # Then
    assert claim.cancelled()
    assert await n_readers(session) == 0


# ---- memory, and the call that follows -----------------------------------------------------------------------------


async def a_call(session: Session) -> TrainerCall:
    ref = await blob.put(session, "w", DATA, chunk_bytes=CHUNK)
    aux = await blob.put(session, "a", DATA, chunk_bytes=CHUNK)
    return TrainerCall(train=TrainRequest(weights=referring(WEIGHTS.layout, ref), aux=referring(WEIGHTS.layout, aux)))


def places(call: TrainerCall) -> list[tuple[int, int]]:
    return sorted((span.start, span.size) for span in call.spans.values())


async def test_weights_that_are_there_are_not_read_again(session: Session, ahead: Ahead, memory: Memory) -> None:
    # Given
    call = await a_call(session)
    await ahead.begin(announced(), memory)
    await until_read_whole(ahead)
    # When nobody could read them again
    await session.delete("w")
    await bring(session, memory, call, ahead=ahead)
    # Then what comes besides has a place of its own
    assert memory.view(call.spans["weights"]) == DATA
    assert memory.view(call.spans["aux"]) == DATA
    assert call.spans["aux"].start >= DATA.nbytes


async def test_weights_that_are_not_what_the_request_names_are_read_again(
    session: Session, ahead: Ahead, memory: Memory
) -> None:
    # Given other bytes under that name
    await blob.put(session, "w", bytes(DATA.nbytes), chunk_bytes=CHUNK)
    await ahead.begin(announced(), memory)
    await until_read_whole(ahead)
    await session.delete("w")
    # When
    call = await a_call(session)
    await bring(session, memory, call, ahead=ahead)
    # Then
    assert memory.view(call.spans["weights"]) == DATA


async def test_reading_ahead_takes_no_more_memory_than_reading(session: Session, ahead: Ahead) -> None:
    # Given what a call takes, and the updates of two rounds after it
    call = await a_call(session)
    plain, early = SharedMemory.create(), SharedMemory.create()
    await bring(session, plain, call, ahead=Ahead(session, get_log("test")))
    expected, size = places(call), os.fstat(plain.fd).st_size
    # When it is read ahead, where updates lay, after something else was, in vain
    for start in (0, 0):
        early.keep([Span(start=start, size=DATA.nbytes)])
        call.spans.clear()
        await ahead.begin(announced("elsewhere"), early)
        await ahead.begin(announced(), early)
        await bring(session, early, call, ahead=ahead)
    # Then
    assert places(call) == expected
    assert os.fstat(early.fd).st_size == size
    plain.close()
    early.close()


async def test_memory_of_one_process_is_let_go_of_as_without(session: Session, ahead: Ahead) -> None:
    # Given
    memory, call = OwnMemory(), await a_call(session)
    # When
    for _ in range(3):
        call.spans.clear()
        await ahead.begin(announced(), memory)
        await bring(session, memory, call, ahead=ahead)
    # Then
    assert len(memory._buffers) == 2
