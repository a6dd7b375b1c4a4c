"""Vectors across the broker: small ones inside their message, big ones as a blob."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import blob
from broker.base import Session
from broker.errors import NotFound
from broker.memory import MemoryBroker
from fl.core.vector import Array, NumpyVector
from fl.errors import BadMessage
from fl.wire.bulk import INLINE_BYTES, fetch, pour, ship
from fl.wire.tensors import blob_ref, digest, inline, referring
from fl.wire.tensors_pb2 import Tensors
from tests.unit.wire.tensors_of import a_vector, same, vectors

STREAM = "fl.run.r.w.1.leader"
BIG = a_vector(INLINE_BYTES // 4)


@pytest.fixture
async def session() -> Session:
    return MemoryBroker().connect()


async def test_a_small_vector_needs_no_stream(session: Session) -> None:
    # When
    tensors = await ship(session, a_vector(), STREAM)
    # Then
    assert blob_ref(tensors) is None
    assert same(await fetch(session, tensors), a_vector())
    with pytest.raises(NotFound):
        await session.count(STREAM)


async def test_a_big_vector_comes_back_from_its_stream(session: Session) -> None:
    # When
    tensors = await ship(session, BIG, STREAM)
    # Then
    assert blob_ref(tensors) is not None
    assert same(await fetch(session, Tensors.FromString(tensors.SerializeToString())), BIG)


async def test_how_big_is_big_may_be_said(session: Session) -> None:
    # When
    tensors = await ship(session, a_vector(), STREAM, inline_bytes=3)
    # Then
    assert same(await fetch(session, tensors), a_vector())
    assert blob_ref(tensors) is not None


async def test_what_is_just_not_too_big_needs_no_stream(session: Session) -> None:
    # When
    tensors = await ship(session, a_vector(), STREAM, inline_bytes=a_vector().layout.nbytes)
    # Then
    assert blob_ref(tensors) is None


async def test_what_a_killed_process_left_half_written_is_written_anew(session: Session) -> None:
    # Given
    await blob.put(session, STREAM, bytes(BIG.pack())[: INLINE_BYTES // 2])
    # When
    tensors = await ship(session, BIG, STREAM)
    # Then
    assert same(await fetch(session, tensors), BIG)


async def test_bulk_that_is_gone_is_refused(session: Session) -> None:
    # Given
    tensors = await ship(session, BIG, STREAM)
    await session.delete(STREAM)
    # Then
    with pytest.raises(BadMessage, match="no such stream"):
        # When
        await fetch(session, tensors)


async def test_other_bytes_than_announced_are_refused(session: Session) -> None:
    # Given
    tensors = await ship(session, BIG, STREAM)
    await session.delete(STREAM)
    await blob.put(session, STREAM, bytes(BIG.layout.nbytes))
    # Then
    with pytest.raises(BadMessage, match="SHA-256"):
        # When
        await fetch(session, tensors)


@pytest.mark.parametrize("lie", ["digest", "size", "layout"])
async def test_a_blob_announced_as_something_else_is_not_even_read(session: Session, lie: str) -> None:
    # Given
    tensors = await ship(session, BIG, STREAM)
    match lie:
        case "digest":
            tensors.digest = digest(b"something else")
        case "size":
            tensors.ref.bytes += 1
        case _:
            tensors.layout[0].shape[0] += 1
    await session.delete(STREAM)
    # Then
    with pytest.raises(BadMessage, match="another digest or size"):
        # When
        await fetch(session, tensors)


@given(vector=vectors(), chunk_bytes=st.integers(1, 40))
async def test_the_parts_of_a_vector_are_all_of_it_in_order_however_it_was_cut(
    vector: NumpyVector, chunk_bytes: int
) -> None:
    # Given
    session = MemoryBroker().connect()
    data = vector.pack()
    tensors = referring(vector.layout, await blob.put(session, STREAM, data, chunk_bytes=chunk_bytes))
    flat, places = vector.empty_like().flat, []

    def take(start: int, values: Array) -> None:
        flat[start : start + len(values)] = values
        places.append((start, len(values)))

    # When
    others = await pour(session, tensors, take)

    # Then
    assert same(NumpyVector(vector.layout, flat, others), vector)
    assert [start for start, _ in places] == [sum(length for _, length in places[:n]) for n in range(len(places))]


async def test_the_parts_of_a_small_vector_come_from_its_message(session: Session) -> None:
    taken: list[Array] = []

    others = await pour(session, inline(a_vector()), lambda start, values: taken.append(values))

    assert same(NumpyVector(a_vector().layout, np.concatenate(taken), others), a_vector())


async def test_parts_of_another_vector_than_announced_are_refused_in_the_end(session: Session) -> None:
    tensors = await ship(session, BIG, STREAM)
    tensors.digest = tensors.ref.sha256 = digest(b"something else")

    with pytest.raises(BadMessage, match="SHA-256"):
        await pour(session, tensors, lambda start, values: None)
