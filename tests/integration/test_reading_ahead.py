"""Sites that read weights while these are written: the same bits, sooner; and what is in vain leaves nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from broker import blob
from broker.base import Session, Stream
from broker.blob import BlobRef, unproven
from broker.connect import open_session
from fl.client.part import Part
from fl.client.setup import site_from_data
from fl.client.site import Site
from fl.wire.messages_pb2 import EvaluateReply, StopRequest, TrainReply, WeightsAhead
from fl.wire.tensors import referring, write_ref
from tests.integration.site_files import data_in
from tests.integration.trainer_parts import BULK, LEADER, RUN, Asker, asked, memories, site_with_process, weights_of

START: Final = weights_of(BULK)
NEXT: Final = weights_of(BULK, -3.0)
STREAM: Final = "fl.run.trial.w.1.leader"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trainers look for a fault; no memory of theirs is left when a test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield tmp_path
    assert memories() == []


async def site_with_thread(folder: Path) -> Site:
    return await site_from_data("ant", data_in(folder, "ant", n_features=BULK))


SITES: Final[dict[str, Callable[[Path], Awaitable[Site]]]] = {
    "process": site_with_process,
    "thread": site_with_thread,
}


@pytest.fixture(params=SITES)
async def asker(request: pytest.FixtureRequest, memory_url: str, tmp_path: Path) -> AsyncIterator[Asker]:
    async with asked(memory_url, await SITES[request.param](tmp_path)) as made:
        yield made


@pytest.fixture
async def leader(memory_url: str) -> AsyncIterator[Session]:
    """A session of whoever writes weights."""
    made = await open_session(memory_url, name="leader")
    yield made
    await made.close()


def hint(ref: BlobRef, round_: int = 1) -> WeightsAhead:
    return WeightsAhead(round=round_, weights=write_ref(ref))


async def told(asker: Asker, leader: Session, *, round_: int = 1) -> None:
    """Have a part read weights whose stream is there, and half of them at most."""
    await leader.declare(Stream(STREAM))
    chunks = list(blob.cut(NEXT.pack(), 100_000))
    for chunk in chunks[: len(chunks) // 2]:
        await leader.publish(chunk, routing_key=STREAM)
    await asker.part.read_ahead(hint(unproven(STREAM, NEXT.pack(), 100_000), round_))


async def n_readers(leader: Session) -> int:
    return (await leader.count(STREAM)).consumers


async def until_read(leader: Session) -> None:
    async with asyncio.timeout(20.0):
        while not await n_readers(leader):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
async def test_what_is_read_ahead_leads_to_the_same_bits(
    asker: Asker, leader: Session, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    ask = asker.train if kind == "train" else asker.evaluate
    # Given a part that has answered, whose update lay where its next weights will
    await asker.train(await asker.keep(START))
    # When it reads them while they are written
    await told(asker, leader)
    await until_read(leader)
    ref = await blob.write(leader, STREAM, NEXT.pack(), chunk_bytes=100_000)
    reply = await ask(referring(NEXT.layout, ref), 2)
    # Then it answers as it does when it reads them again once it is asked
    assert f"weights_read_ahead client=ant run={RUN} stream={STREAM}" in caplog.text
    again = await ask(await asker.keep(NEXT, "again"), 2)
    for one in (reply, again):
        assert isinstance(one, TrainReply | EvaluateReply)
        one.ClearField("seconds")
    assert reply == again


async def test_an_answer_given_again_disturbs_no_reading(asker: Asker, leader: Session) -> None:
    # Given
    first = await asker.keep(START)
    sent = await asker.train(first)
    await told(asker, leader)
    await until_read(leader)
    # When
    again = await asker.train(first)
    # Then
    assert again == sent
    assert await n_readers(leader) == 1


async def test_a_request_for_other_weights_ends_the_reading(asker: Asker, leader: Session) -> None:
    # Given
    await told(asker, leader)
    await until_read(leader)
    # When
    reply = await asker.train(await asker.keep(START))
    # Then
    assert isinstance(reply, TrainReply)
    assert await n_readers(leader) == 0


@pytest.mark.parametrize("kind", ["train", "evaluate"])
async def test_a_hint_that_comes_after_its_request_is_no_news(asker: Asker, leader: Session, kind: str) -> None:
    # Given
    weights = await asker.keep(START)
    await (asker.train(weights, 2) if kind == "train" else asker.evaluate(weights, 1))
    # When
    await told(asker, leader, round_=1)
    # Then
    assert asker.part._ahead._reading is None


async def test_a_part_without_a_model_does_not_read(memory_url: str, leader: Session, tmp_path: Path) -> None:
    # Given
    session = await open_session(memory_url, name="ant")
    part = Part(await site_with_thread(tmp_path), session, RUN)
    # When
    await told(Asker(session, part), leader)
    # Then
    assert part._ahead._reading is None
    await session.close()


async def test_a_part_that_closes_reads_no_further(asker: Asker, leader: Session) -> None:
    # Given
    await told(asker, leader)
    await until_read(leader)
    # When
    await asker.part.close()
    # Then
    assert await n_readers(leader) == 0


async def test_a_run_that_is_over_ends_the_reading(asker: Asker, leader: Session) -> None:
    # Given
    await told(asker, leader)
    await until_read(leader)
    # When
    await asker.part.answer(StopRequest(status="finished"), leader=LEADER)
    # Then
    assert asker.part.over
    assert await n_readers(leader) == 0


async def test_a_stream_that_is_deleted_under_a_part_fails_nobody(asker: Asker, leader: Session) -> None:
    # Given
    await told(asker, leader)
    await until_read(leader)
    # When a new leader deletes what the old one wrote, and asks again
    await leader.delete(STREAM)
    reply = await asker.train(await asker.keep(START))
    # Then
    assert isinstance(reply, TrainReply)
