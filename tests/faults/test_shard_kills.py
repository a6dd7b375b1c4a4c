"""Who sums for a run, or leads one with shards, is killed or stalls between any two steps: no bit changes."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker import topology
from fl.run.events import RoundCommitted
from tests.faults.campaign import Campaign, Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run
from tests.faults.test_frozen_leader import SHORT_S, one_that_stops, until_said, until_stopped

pytestmark = pytest.mark.rabbitmq

LEADS: Final = {
    "it has got the first reply to its shard, which it is about to pass on": "after deliver server.0 train_reply 1",
    "it hears of the first replies": "after deliver server replies_held 1",
    "it is about to settle whose updates are in the sum": "before publish log round_closed",
    "it is settled whose updates are in the sum": "after publish log round_closed",
    "the sum has come": "after deliver server block_summed 1",
    "the sum is half read": "after deliver p.1.0.* chunk 0",
    "what optimizers tell is half read": "after deliver q.1.0.* chunk 0",
    "the sum is read, and new weights are half written": "after publish w.1.* chunk 0",
    "the round is about to be committed": "before publish log round_committed train 1",
    "the round is committed, and the sum is not acknowledged": "before ack server block_summed 1",
    "what it heard of replies is acknowledged": "after ack server replies_held 1",
    "the sum is deleted": "after delete p.1.0.*",
    "the second round is settled": "after publish log round_closed #2",
    "the second sum has come": "after deliver server block_summed 2",
    "the queue of a shard is deleted": "after delete server.0",
}
"""Moments of the leader."""

SUMS: Final = {
    "it takes the shard": "after deliver server.0 baton",
    "it has the first reply": "after deliver server.0 train_reply 1",
    "it is about to tell of replies": "before publish server replies_held 1",
    "it has told of replies": "after publish server replies_held 1",
    "the first update is half read": "after deliver u.1.* chunk 0",
    "the last update is half read": "after deliver u.1.* chunk 0 #3",
    "all updates are in the sum": "before declare p.1.0.*",
    "the sum has its stream": "after declare p.1.0.*",
    "the sum is half written": "after publish p.1.0.* chunk 0",
    "what optimizers tell is half written": "after publish q.1.0.* chunk 0",
    "the leader is about to get the sum": "before publish server block_summed 1",
    "the leader has the sum, and no reply is acknowledged": "after publish server block_summed 1",
    "one reply of three is acknowledged": "after ack server.0 train_reply 1",
    "the second sum is half written": "after publish p.2.0.* chunk 0",
    "the leader has the second sum": "after publish server block_summed 2",
}
"""Moments of who sums."""


@pytest.mark.parametrize("moment", LEADS)
async def test_a_leader_of_shards_may_be_killed_when(moment: str, scene: Scene, calm: Told, tmp_path: Path) -> None:
    # Given: a run with shards, and two workers, of which the first leads
    async with campaign(scene, make_run(shards=2)) as played:
        leader = played.supervise(played.role("worker", "leader", tmp_path), [Point.parse(LEADS[moment])])
        await played.until_led(leader.victim)
        played.parties.worker("standby")
        await played.until_standing_by(shard_of(played), consumers=2)

        # When: it is killed at that moment, and started again
        await played.sites()
        told = await played.told()

    # Then: the run comes to what one worker alone makes of it
    assert told == calm


@pytest.mark.parametrize("moment", SUMS)
async def test_who_sums_for_a_run_may_be_killed_when(moment: str, scene: Scene, calm: Told, tmp_path: Path) -> None:
    # Given: a run with shards that another worker leads, which passes the shard on
    async with campaign(scene, make_run(shards=2)) as played:
        played.parties.worker("leader")
        await played.until_standing_by(shard_of(played), consumers=1)
        played.supervise(played.role("worker", "summing", tmp_path), [Point.parse(SUMS[moment])])
        await played.until_standing_by(shard_of(played), consumers=2)

        # When: it is killed at that moment, and started again
        await played.sites()
        told = await played.told()

    # Then
    assert told == calm


@pytest.mark.parametrize(
    "moment", ["it has told of replies", "the sum is half written", "the leader is about to get the sum"]
)
async def test_who_sums_wakes_up_after_two_commits_and_changes_nothing(
    moment: str, scene: Scene, calm: Told, tmp_path: Path
) -> None:
    async with campaign(scene, make_run(shards=2)) as played:
        # Given: one that freezes as it sums, and a round that waits for one client until it has woken
        played.parties.worker("leader")
        await played.until_standing_by(shard_of(played), consumers=1)
        role = replace(played.role("worker", "summing", tmp_path), heartbeat_s=SHORT_S)
        summing = played.enlist(role, Point.parse(SUMS[moment]), by=signal.SIGSTOP)
        await played.until_standing_by(shard_of(played), consumers=2)
        cat = await one_that_stops(played, tmp_path, "after deliver client.cat train_request 2")
        await until_stopped(summing)

        # When: the leader has committed two rounds with what another has summed, and it wakes
        await until_stopped(cat)
        n_commits = await played.count_records(RoundCommitted)
        summing.send(signal.SIGCONT)
        await until_said(summing, "connected", times=2)
        cat.send(signal.SIGCONT)
        told = await played.told()

    # Then
    assert n_commits == 2
    assert told == calm


def shard_of(played: Campaign) -> str:
    """The queue of the shard that has a part in so small a round."""
    return topology.shard_queue(played.submission.run, 0)
