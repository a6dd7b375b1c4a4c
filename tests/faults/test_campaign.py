"""The campaigns' own tools: a kill that never happens is no proof of anything."""

from pathlib import Path

import pytest

from broker.base import Message
from broker.blob import cut
from broker.topology import Room
from fl.run.events import Kind, RoundOpened
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import TrainReply
from fl.wire.records import write_record
from tests.faults import test_daemon_kills, test_worker_kills
from tests.faults.campaign import Scene, campaign
from tests.faults.points import Point, address, content, declared
from tests.faults.stage import make_run


@pytest.mark.rabbitmq
async def test_a_campaign_that_kills_nobody_fails(scene: Scene, tmp_path: Path) -> None:
    async with campaign(scene, make_run(rounds=1)) as played:
        never = Point.parse("after publish down.dog stop_request")
        played.supervise(played.role("worker", "leader", tmp_path), [never])
        await played.sites()

        with pytest.raises(AssertionError, match=r"nobody has died after publish down\.dog stop_request"):
            await played.told()


@pytest.mark.parametrize("points", [test_worker_kills.POINTS, test_daemon_kills.POINTS])
def test_no_two_moments_are_the_same_point(points: dict[str, str]) -> None:
    assert len({Point.parse(text) for text in points.values()}) == len(points)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (write_record("x", RoundOpened(2, Kind.EVALUATE, ("ant",)), number=0, now=0.0), "round_opened evaluate 2"),
        (seal(wrap("r", "ant", TrainReply(round=3), now=0.0)), "train_reply 3"),
        (list(cut(bytes(3), chunk_bytes=2))[1], "chunk 1"),
        (Message(b"", type="marker"), "marker"),
    ],
)
def test_a_line_says_what_a_message_is_and_of_which_round(message: Message, said: str) -> None:
    assert content(message) == said


@pytest.mark.parametrize(
    ("exchange", "key", "said"),
    [
        ("", "fl.run.r.log", "log"),
        ("", "fl.run.r.w.1.leader", "w.1.leader"),
        ("", "fl.runs", "runs"),
        ("fl.down", "r.ant.train_request", "down.ant"),
        ("fl.up", "r.ant.train_reply", "up.ant"),
        ("fl.up", "r.ant.train_reply.1", "up.ant.1"),
        ("", "fl.run.r.server.1", "server.1"),
        ("fl.up", "r.ant.u.2.leader", "u.2.ant.leader"),
    ],
)
def test_a_line_says_where_a_message_goes(exchange: str, key: str, said: str) -> None:
    assert address(exchange, key) == said


def test_a_stream_and_its_binding_are_two_lines() -> None:
    stream, binding = Room("r", 1, "ant", "leader").declaration(max_bytes=1)

    assert (declared(stream), declared(binding)) == ("u.1.ant.leader", "up-u.1.ant.leader")
