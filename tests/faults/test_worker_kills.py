"""A leader is killed between any two of its steps: its successor goes on, and no bit of the run changes."""

from pathlib import Path
from typing import Final

import pytest

from tests.faults.campaign import Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run

pytestmark = pytest.mark.rabbitmq

POINTS: Final = {
    "it took the baton": "after deliver server baton",
    "it has said that it leads": "after publish log leader_started",
    # registration
    "one client has asked to join": "after deliver server join_request",
    "clients are about to be admitted": "before publish log clients_admitted",
    "clients are admitted": "after publish log clients_admitted",
    "one request to join of three is acknowledged": "after ack server join_request",
    "one client of three is told that it takes part": "before publish down.* join_reply #2",
    # initialisation
    "the first weights are half written": "after publish w.0.* chunk 0",
    "the run is about to be initialised": "before publish log run_initialised",
    "the run is initialised": "after publish log run_initialised",
    "one client of three is asked to build the model": "before publish down.* init_request #2",
    "clients are about to be ready": "before publish log clients_ready",
    "clients are ready": "after publish log clients_ready",
    # a training round
    "a round is about to be opened": "before publish log round_opened train 1",
    "a round is opened": "after publish log round_opened train 1",
    "an update has its stream": "after declare u.1.*",
    "one client of three is asked to train": "before publish down.* train_request 1 #2",
    "one client has trained": "after deliver server train_reply 1",
    "the first update is half read": "after deliver u.1.* chunk 0",
    "what an optimizer tells is half read": "after deliver x.1.* chunk 0 #2",
    "two updates are in the sum, and the last one is half read": "after deliver u.1.* chunk 0 #3",
    "the weights are half read that the next ones come from": "after deliver w.0.* chunk 0",
    "new weights are half written": "after publish w.1.* chunk 0",
    "new weights are written, and the optimizer's state is not": "before declare s.1.*",
    "the optimizer's state is half written": "after publish s.1.* chunk 0",
    "state is written, and what clients are told is not": "before declare a.1.*",
    # its commit
    "all bulk is written, and the record is not": "before publish log round_committed train 1",
    "a round is committed, and the next one is not opened": "after publish log round_committed train 1",
    "a commit is written, and not read back": "after publish log round_opened evaluate 1",
    "a commit is read back, and no reply is acknowledged": "before ack server train_reply 1",
    "one reply of three is acknowledged": "after ack server train_reply 1",
    "one client of three is asked to evaluate": "before publish down.* evaluate_request 1 #2",
    "old weights are deleted, and old updates are not": "after delete w.0.*",
    "one old update of three is deleted": "after delete u.1.*",
    # an evaluation
    "one client has evaluated": "after deliver server evaluate_reply 1",
    "an evaluation is about to be committed": "before publish log round_committed evaluate 1",
    "an evaluation is committed, and not read back": "after publish log round_opened train 2",
    "no evaluation is acknowledged": "before ack server evaluate_reply 1",
    "one evaluation of three is acknowledged": "after ack server evaluate_reply 1",
    "one client of three is asked to train on": "before publish down.* train_request 2 #2",
    # the second round, where state matters
    "a state that was committed is half read": "after deliver s.1.* chunk 0",
    "the second weights are half written": "after publish w.2.* chunk 0",
    "the second commit is written, and not read back": "after publish log round_opened evaluate 2",
    "one reply of three in the second round is acknowledged": "after ack server train_reply 2",
    # the end
    "the run is about to end": "before publish log run_ended",
    "the run has ended": "after publish log run_ended",
    "one last evaluation of three is acknowledged": "after ack server evaluate_reply 2",
    "one client of three is told of the end": "before publish down.* stop_request #2",
    "the last state is deleted": "after delete s.2.*",
    "the end is about to be announced": "before publish runs run_closed",
    "the end is announced": "after publish runs run_closed",
    "the run's queue is deleted": "after delete server",
}


@pytest.mark.parametrize("moment", POINTS)
async def test_a_leader_may_be_killed_when(moment: str, scene: Scene, calm: Told, tmp_path: Path) -> None:
    # Given: a run, and two workers, of which the first leads
    point = Point.parse(POINTS[moment])
    async with campaign(scene, make_run()) as played:
        leader = played.supervise(played.role("worker", "leader", tmp_path), [point])
        await played.until_led(leader.victim)
        played.parties.worker("standby")

        # When: it is killed at that moment, and started again
        await played.sites()
        told = await played.told()

    # Then
    assert told == calm
