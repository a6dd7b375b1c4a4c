"""A daemon is killed between any two of its steps, and started again: no bit of the run changes."""

from pathlib import Path
from typing import Final

import pytest

from tests.faults.campaign import Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run

pytestmark = pytest.mark.rabbitmq

POINTS: Final = {
    "it has read of the run": "after deliver runs run_submitted",
    "it is about to ask to join": "before publish up.bee join_request",
    "it has asked to join": "after publish up.bee join_request",
    "it is told that it takes part": "after deliver client.bee join_reply",
    "it knows that it takes part": "after ack client.bee join_reply",
    "it is asked to build the model": "after deliver client.bee init_request",
    "it has built the model, and not said so": "before publish up.bee init_reply",
    "it has said that it has the model": "after publish up.bee init_reply",
    "it has acknowledged the model": "after ack client.bee init_request",
    # a training round, the second one too, where its own state matters
    "it is asked to train": "after deliver client.bee train_request 1",
    "the weights are half read": "after deliver w.0.* chunk 0",
    "it has trained, and published nothing": "before publish u.1.bee.* chunk 0",
    "its update is half written": "after publish u.1.bee.* chunk 0",
    "its update is written, and what its optimizer tells is not": "before publish x.1.bee.* chunk 0",
    "its update is written, and its reply is not": "before publish up.bee train_reply 1",
    "its reply is confirmed, and the request is not acknowledged": "after publish up.bee train_reply 1",
    "it has acknowledged the request": "after ack client.bee train_request 1",
    "it is asked to train on": "after deliver client.bee train_request 2",
    "it has trained twice, and published nothing new": "before publish u.2.bee.* chunk 0",
    "its second update is half written": "after publish u.2.bee.* chunk 0",
    "its second reply is confirmed, and the request is not acknowledged": "after publish up.bee train_reply 2",
    # an evaluation
    "it is asked to evaluate": "after deliver client.bee evaluate_request 1",
    "it has evaluated, and not said so": "before publish up.bee evaluate_reply 1",
    "it has told its evaluation": "after publish up.bee evaluate_reply 1",
    "it has acknowledged the evaluation": "after ack client.bee evaluate_request 1",
    # the end
    "it is told of the end": "after deliver client.bee stop_request",
    "the final weights are half read, to be kept": "after deliver w.2.* chunk 0 #2",
    "it has kept the final weights": "before ack client.bee stop_request",
    "it has acknowledged the end": "after ack client.bee stop_request",
}


@pytest.mark.parametrize("moment", POINTS)
async def test_a_daemon_may_be_killed_when(moment: str, scene: Scene, calm: Told, tmp_path: Path) -> None:
    # Given
    point = Point.parse(POINTS[moment])
    async with campaign(scene, make_run()) as played:
        played.parties.worker()

        # When: one of three daemons is killed at that moment, and started again
        played.supervise(played.role("daemon", "bee", tmp_path), [point])
        await played.sites("bee")
        told = await played.told()

    # Then
    assert told == calm
    assert not list((tmp_path / "state-bee" / "runs").glob("*")), "it keeps nothing of a run that is over"
