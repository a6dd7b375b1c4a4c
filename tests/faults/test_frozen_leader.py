"""A leader that is stalled, and replaced without noticing, changes nothing when it wakes."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.local import LocalRabbit
from fl.run.events import LeaderStarted, RoundCommitted
from tests.faults.campaign import LOOK_EVERY_S, PATIENCE_S, Campaign, Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run
from tests.faults.troupe import Victim
from tests.rabbit_tools import impatience

pytestmark = pytest.mark.rabbitmq

SHORT_S: Final = 1
"""A leader's heartbeat: the broker gives it up after two."""
LONG_S: Final = 60
"""That of a daemon that is stopped so that a round waits for it."""
HOLD_MS: Final = 2_000
"""How long a delivery may go unacknowledged, where that is short."""

MOMENTS: Final = {
    "has one reply": "after deliver server train_reply 1",
    "has half written the new weights": "after publish w.1.* chunk 0",
    "is about to commit": "before publish log round_committed train 1",
    "has committed, and acknowledged nothing": "before ack server train_reply 1",
    "has half deleted what is old": "after delete u.1.*",
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_leader_wakes_up_after_two_commits_of_its_successor_and_changes_nothing(
    moment: str, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run()) as played:
        # Given: a leader that freezes, and a round that waits for one client until the leader has woken
        role = replace(played.role("worker", "leader", tmp_path), heartbeat_s=SHORT_S)
        leader = played.enlist(role, Point.parse(MOMENTS[moment]), by=signal.SIGSTOP)
        await played.until_led(leader)
        played.parties.worker("standby")
        cat = await one_that_stops(played, tmp_path, "after deliver client.cat train_request 2")
        await until_stopped(leader)

        # When: its successor has committed two rounds, and it wakes
        await until_stopped(cat)
        n_commits = await played.count_records(RoundCommitted)
        leader.send(signal.SIGCONT)
        await until_said(leader, "connected", times=2)
        cat.send(signal.SIGCONT)
        told = await played.told()

    # Then
    assert n_commits == 2
    assert told == calm


async def test_leaders_who_hold_a_reply_for_too_long_take_turns_and_change_nothing(
    rabbit: LocalRabbit, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run()) as played:
        # Given: two workers whose subscriptions alone end when a message is held for too long
        cat = await one_that_stops(played, tmp_path, "after deliver client.cat train_request 2")
        async with impatience(rabbit, HOLD_MS, look_every_ms=200):
            played.parties.worker("one")
            played.parties.worker("two")

            # When: they wait for a client until the run has been taken over several times
            await until_stopped(cat)
            async with asyncio.timeout(PATIENCE_S):
                while await played.count_records(LeaderStarted) < 4:
                    await asyncio.sleep(LOOK_EVERY_S)
        cat.send(signal.SIGCONT)
        told = await played.told()

    # Then
    assert told == calm


async def one_that_stops(played: Campaign, folder: Path, point: str) -> Victim:
    """All daemons, of which one is a process that freezes at that point; its connection lives on."""
    role = replace(played.role("daemon", "cat", folder), heartbeat_s=LONG_S)
    cat = played.enlist(role, Point.parse(point), by=signal.SIGSTOP)
    await played.sites("cat")
    return cat


async def until_stopped(victim: Victim) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not victim.is_stopped:
            assert victim.exit_code is None, victim.last_words
            await asyncio.sleep(LOOK_EVERY_S)


async def until_said(victim: Victim, text: str, *, times: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while victim.last_words.count(text) < times:
            assert victim.exit_code is None, victim.last_words
            await asyncio.sleep(LOOK_EVERY_S)
