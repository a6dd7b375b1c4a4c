"""Messages that wait: what of them is in memory, and that nothing of them is lost by it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.base import Delivery, Message, Queue, Session
from broker.errors import Retryable
from broker.memory import MemoryBroker
from fl.log import get_log
from fl.server.scratch import Place, ScratchFile
from fl.server.spool import LIGHT_BYTES, Spool, Spooled
from tests.integration.world import until
from tests.scarcity import no_file_above

BUDGET = 3 * LIGHT_BYTES
"""Bytes that may wait in memory here."""
HEAVY = LIGHT_BYTES + 1
FULL_BYTES = 200_000
"""More than a file may hold while the disk counts as full."""


@pytest.fixture
async def session() -> Session:
    return MemoryBroker.named(secrets.token_hex(4)).connect()


@asynccontextmanager
async def working(spool: Spool) -> AsyncIterator[Spool]:
    relief = asyncio.ensure_future(spool.relieve())
    with closing(spool):
        yield spool
        relief.cancel()
        await asyncio.wait({relief})


async def delivered(session: Session, *bodies: bytes) -> list[Delivery]:
    """These messages, on loan."""
    await session.declare(Queue("q"))
    for body in bodies:
        await session.publish(Message(body), routing_key="q")
    deliveries = await session.consume("q", prefetch=len(bodies))
    return [await anext(aiter(deliveries)) for _ in bodies]


def in_memory(*kept: Spooled) -> int:
    """Bytes of what waits."""
    waiting = [one.waiting for one in kept]
    return sum(len(body) for body in waiting if not isinstance(body, Place) and body is not None)


async def body_of(kept: Spooled) -> bytes:
    async with kept.at_hand():
        return bytes(kept.message.body)


async def test_what_waits_in_memory_stays_within_its_bounds_and_all_of_it_can_be_read(session: Session) -> None:
    # Given more than may wait in memory
    bodies = [bytes([number]) * (HEAVY + number) for number in range(20)]
    async with working(Spool(get_log("test"), memory_bytes=BUDGET)) as spool:
        # When
        kept = [spool.keep(delivery) for delivery in await delivered(session, *bodies)]
        await until(lambda: in_memory(*kept) <= BUDGET)

        # Then
        assert [await body_of(one) for one in kept] == bodies
        assert in_memory(*kept) <= BUDGET


async def test_a_message_has_its_body_only_where_it_is_at_hand(session: Session) -> None:
    # Given
    async with working(Spool(get_log("test"))) as spool:
        (delivery,) = await delivered(session, b"body")
        kept = spool.keep(delivery)

        # When it is read within a block that reads it
        async with kept.at_hand():
            within = await body_of(kept)
            after_that = kept.message.body

        # Then
        assert (within, after_that) == (b"body", b"body")
        assert (kept.message.body, delivery.message.body) == (b"", b"")


async def test_what_is_settled_makes_room_in_memory(session: Session) -> None:
    # Given a spool that is full
    async with working(Spool(get_log("test"), memory_bytes=HEAVY)) as spool:
        first, second = await delivered(session, bytes(HEAVY), bytes(HEAVY))
        await spool.keep(first).ack()

        # When
        kept = spool.keep(second)
        for _ in range(3):  # whatever would write it has had its turn
            await asyncio.sleep(0)

        # Then
        assert in_memory(kept) == HEAVY


async def test_a_message_that_is_settled_on_its_way_to_the_file_leaves_its_place_to_others(session: Session) -> None:
    # Given two messages, of which one is being written
    async with working(Spool(get_log("test"), memory_bytes=0)) as spool:
        first, second = await delivered(session, b"1" * HEAVY, b"2" * HEAVY)
        one = spool.keep(first)
        await asyncio.sleep(0)

        # When
        await one.ack()
        other = spool.keep(second)
        await until(lambda: isinstance(other.waiting, Place))

        # Then
        assert await body_of(other) == b"2" * HEAVY


async def test_while_the_disk_is_full_messages_wait_in_memory_and_the_log_says_so(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a disk that takes no more, for a while
    first, second = await delivered(session, b"1" * FULL_BYTES, b"2" * FULL_BYTES)
    async with working(Spool(get_log("test"), memory_bytes=0)) as spool:
        # When
        with no_file_above(FULL_BYTES - 1):
            one = spool.keep(first)
            await until(lambda: bool(caplog.messages))
        other = spool.keep(second)
        await until(lambda: isinstance(other.waiting, Place))

        # Then
        assert [await body_of(one), await body_of(other)] == [b"1" * FULL_BYTES, b"2" * FULL_BYTES]
        assert caplog.messages == [
            "messages_wait_in_memory reason='[Errno 27] File too large' to_do='make room for temporary files'"
        ]


async def test_what_the_disk_has_lost_is_asked_for_on_another_connection(session: Session) -> None:
    # Given a message in a file that has lost its end
    async with working(Spool(get_log("test"), memory_bytes=0)) as spool:
        kept = spool.keep(*await delivered(session, bytes(HEAVY)))
        await until(lambda: isinstance(kept.waiting, Place))
        kept.waiting = Place(2 * HEAVY, HEAVY)

        # Then
        with pytest.raises(Retryable, match="cannot be read: of 4097 bytes that were written not all are there"):
            await body_of(kept)


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.integers(0, 20)), max_size=30))
def test_what_was_written_and_not_freed_is_there_whatever_was_freed(acts: list[bytes | int]) -> None:
    async def law() -> None:
        there: list[tuple[Place, bytes]] = []
        with closing(ScratchFile()) as file:
            for act in acts:
                if isinstance(act, bytes):
                    (place,) = await file.write([act])
                    there.append((place, act))
                elif act < len(there):
                    file.free(there.pop(act)[0])
                assert [bytes(await file.read(place)) for place, _ in there] == [data for _, data in there]

    asyncio.run(law())


async def test_a_file_that_is_filled_and_emptied_again_and_again_does_not_grow() -> None:
    with closing(ScratchFile()) as file:
        # Given
        first = await file.write([bytes(200), bytes(3000)])

        # When
        for place in first:
            file.free(place)
        again = await file.write([bytes(2500), bytes(150)])

        # Then
        assert {place.start for place in again} == {place.start for place in first}
