"""Who writes weights, or reads them ahead, is killed in the middle: no bit of the run changes, and nothing is left."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.local import LocalRabbit
from tests.faults.campaign import LOOK_EVERY_S, PATIENCE_S, Campaign, Scene, Told, campaign
from tests.faults.inventory import readers
from tests.faults.points import Point
from tests.faults.stage import make_run
from tests.faults.troupe import Victim
from tests.faults.victim import TrainerKind

pytestmark = pytest.mark.rabbitmq

LONG_S: Final = 60
"""A heartbeat of somebody who is stopped, and is to be there still."""

LEADER_POINTS: Final = {
    "the first of three clients is about to be told": "before publish down.* weights_ahead 1",
    "one client of three was told": "after publish down.* weights_ahead 1",
    "all were told": "after publish down.* weights_ahead 1 #3",
    "all were told, and the weights are half written": "before publish w.1.* chunk 1",
    "all were told of the last weights": "after publish down.* weights_ahead 2 #3",
}

DAEMON_POINTS: Final = {
    "it is told": "after deliver client.bee weights_ahead 1",
    "it has acknowledged that": "after ack client.bee weights_ahead 1",
    "it has read the first half ahead": "after deliver w.1.* chunk 0",
    "it has read everything ahead": "after deliver w.1.* chunk 1",
    "it has read half of the last weights ahead": "after deliver w.2.* chunk 0",
}


@pytest.mark.parametrize("moment", LEADER_POINTS)
async def test_a_leader_may_be_killed_when(moment: str, scene: Scene, calm: Told, tmp_path: Path) -> None:
    # Given
    async with campaign(scene, make_run()) as played:
        leader = played.supervise(played.role("worker", "leader", tmp_path), [Point.parse(LEADER_POINTS[moment])])
        await played.until_led(leader.victim)
        played.parties.worker("standby")

        # When
        await played.sites()
        told = await played.told()

    # Then
    assert told == calm


@pytest.mark.parametrize(
    ("moment", "trainer"),
    [*((moment, "thread") for moment in DAEMON_POINTS), ("it has read the first half ahead", "process")],
)
async def test_a_daemon_may_be_killed_when(
    moment: str, trainer: TrainerKind, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    # Given
    async with campaign(scene, make_run()) as played:
        played.parties.worker()
        role = replace(played.role("daemon", "bee", tmp_path), trainer=trainer)
        role.write_data()

        # When
        played.supervise(role, [Point.parse(DAEMON_POINTS[moment])])
        await played.sites("bee")
        told = await played.told()

    # Then
    assert told == calm


async def test_readers_of_weights_that_a_dead_leader_began_go_on_with_the_next_one(
    rabbit: LocalRabbit, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run()) as played:
        # Given a leader that stands still as it writes, and all that it told reading
        leader = await one_that_stands_still(played, tmp_path)
        await played.sites()
        await until_readers(rabbit, scene, played, 3)

        # When it dies
        leader.send(signal.SIGKILL)
        told = await played.told()

    # Then
    assert told == calm


async def test_a_daemon_that_reads_ahead_ends_when_it_is_asked_to(
    rabbit: LocalRabbit, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run()) as played:
        # Given likewise
        leader = await one_that_stands_still(played, tmp_path)
        bee = played.enlist(played.role("daemon", "bee", tmp_path))
        await played.sites("bee")
        await until_readers(rabbit, scene, played, 3)

        # When
        bee.send(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            code = await bee.until_dead()

        # Then it did not wait for bytes that nobody writes; and a daemon in its place changes no bit
        assert code == 0
        played.enlist(bee.role)
        leader.send(signal.SIGKILL)
        assert await played.told() == calm


async def one_that_stands_still(played: Campaign, folder: Path) -> Victim:
    """A leader that stops, and is not given up, when it has told of the first weights and written one chunk of two."""
    role = replace(played.role("worker", "leader", folder), heartbeat_s=LONG_S)
    leader = played.enlist(role, Point.parse("before publish w.1.* chunk 1"), by=signal.SIGSTOP)
    await played.until_led(leader)
    played.parties.worker("standby")
    return leader


async def until_readers(rabbit: LocalRabbit, scene: Scene, played: Campaign, count: int) -> None:
    """Wait until so many have begun to read the weights after the first round."""
    begin = f"fl.run.{played.submission.run}.w.1."
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await asyncio.to_thread(readers, rabbit, scene.url)
            if [n for name, n in found.items() if name.startswith(begin)] == [count]:
                return
            await asyncio.sleep(LOOK_EVERY_S)
