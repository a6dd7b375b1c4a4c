"""Everybody who could help is killed at the same moment, and one party again and again: no bit of the run changes."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.faults.campaign import LOOK_EVERY_S, PATIENCE_S, Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run

pytestmark = pytest.mark.rabbitmq

MOMENTS: Final = {
    "one client has trained": "after deliver server train_reply 1",
    "all bulk is written, and the record is not": "before publish log round_committed train 1",
    "a commit is written, and not read back": "after publish log round_opened evaluate 1",
    "the second round is half acknowledged": "after ack server train_reply 2",
}

STEPS: Final = (
    "after deliver client.bee train_request {}",
    "before publish u.{}.bee.* chunk 0",
    "after publish u.{}.bee.* chunk 0",
    "after publish x.{}.bee.* chunk 0",
    "before publish up.bee train_reply {}",
    "after publish up.bee train_reply {}",
    "after ack client.bee train_request {}",
    "after deliver client.bee evaluate_request {}",
    "before publish up.bee evaluate_reply {}",
    "after publish up.bee evaluate_reply {}",
    "after ack client.bee evaluate_request {}",
)
"""Of a daemon in a round."""


@pytest.mark.parametrize("moment", MOMENTS)
async def test_two_workers_and_a_daemon_may_be_killed_at_once_when(
    moment: str, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run()) as played:
        # Given: a leader that holds still at that moment, another worker, and a daemon
        leader = played.enlist(
            played.role("worker", "leader", tmp_path), Point.parse(MOMENTS[moment]), by=signal.SIGSTOP
        )
        await played.until_led(leader)
        roles = [played.role("worker", "standby", tmp_path), played.role("daemon", "bee", tmp_path)]
        others = [played.enlist(role) for role in roles]
        await played.sites("bee")
        async with asyncio.timeout(PATIENCE_S):
            while not leader.is_stopped:
                await asyncio.sleep(LOOK_EVERY_S)

        # When: all three are killed, and started again
        for victim in (leader, *others):
            victim.send(signal.SIGKILL)
        for victim in (leader, *others):
            assert await victim.until_dead() == -signal.SIGKILL
            played.supervise(victim.role, [])
        told = await played.told()

    # Then
    assert told == calm


async def test_a_daemon_may_be_killed_at_every_step_of_every_round(scene: Scene, calm: Told, tmp_path: Path) -> None:
    points = [Point.parse(step.format(round_)) for round_ in (1, 2) for step in STEPS]
    async with campaign(scene, make_run()) as played:
        played.parties.worker("worker")
        played.supervise(played.role("daemon", "bee", tmp_path), points)
        await played.sites("bee")
        told = await played.told()

    assert told == calm
