"""What can be told of a dead letter, whatever it is."""

import numpy as np
import pytest

from broker.base import Message
from broker.dead import DeadLetter, read_dead_letter, revived
from fl.core.vector import NumpyVector
from fl.errors import BadMessage
from fl.run.events import RunPaused
from fl.submit.dead import About, about, beginning, content
from fl.wire.envelope import PROTOCOL, seal, wrap
from fl.wire.messages_pb2 import Baton, Error, TrainReply
from fl.wire.records import write_record
from fl.wire.tensors import inline

REPLY = TrainReply(round=3, update=inline(NumpyVector.from_arrays({"coef": np.ones((100, 100))})))


def letter(
    message: Message, *, queue: str = "fl.run.heart.server", exchange: str = "fl.up", key: str = ""
) -> DeadLetter:
    return DeadLetter(message, "why", queue, exchange, key or "heart.ant.train_reply")


def test_sender_and_run_are_those_that_the_broker_vouches_for() -> None:
    # Given a message whose envelope names others
    message = seal(wrap("other", "bee", REPLY, now=1000.0))

    # Then
    assert about(letter(message)) == About("train_reply", "heart", "ant", 1000.0)


@pytest.mark.parametrize(
    ("queue", "run", "client"),
    [
        ("fl.run.heart.server", "heart", ""),
        ("fl.run.heart.server.1", "heart", ""),
        ("fl.client.ant", "", "ant"),
        ("fl.run..server", "", ""),
        ("else", "", ""),
    ],
)
def test_of_bytes_that_mean_nothing_the_queue_tells_whose_they_were(queue: str, run: str, client: str) -> None:
    dead = letter(Message(b"\xff\xfe"), queue=queue, exchange="", key=queue)
    assert about(dead) == About("unreadable", run, client, None)


def test_a_message_of_another_protocol_is_told_as_far_as_it_can_be() -> None:
    # Given
    envelope = wrap("heart", "ant", Baton(), now=1000.0)
    envelope.protocol = PROTOCOL + 1
    dead = letter(seal(envelope))

    # Then
    assert about(dead) == About("baton", "heart", "ant", 1000.0)
    with pytest.raises(BadMessage, match="install the same major release"):
        content(dead)


def test_of_tensors_only_layout_and_size_are_shown() -> None:
    table = content(letter(seal(wrap("heart", "ant", REPLY, now=1000.0))))
    update = table["train_reply"]["update"]
    assert (update["layout"], update["inline"]) == (["coef float64 (100, 100)"], "80000 bytes")
    assert len(str(table)) < 500


def test_codes_are_shown_by_name() -> None:
    error = Error(code=Error.Code.UNINITIALISED, text="it was restarted")
    assert content(letter(seal(wrap("heart", "ant", error, now=0.0))))["error"] == {
        "code": "UNINITIALISED",
        "text": "it was restarted",
    }


def test_a_record_of_a_log_is_shown_as_well() -> None:
    record = write_record("leader-1", RunPaused("too few"), number=7, now=1000.0)
    assert about(letter(record)).what == "run_paused"
    assert content(letter(record))["run_paused"] == {"reason": "too few"}


def test_of_bytes_that_mean_nothing_the_first_are_shown() -> None:
    assert beginning(b"\xff\xfe") == "ff fe"
    assert beginning(bytes(70)).endswith("00 and 6 bytes more")
    with pytest.raises(BadMessage, match="2 bytes of type 'odd' are not an envelope"):
        content(letter(Message(b"\xff\xfe", type="odd")))


def test_what_the_broker_says_of_a_death_is_believed_before_what_the_sender_says() -> None:
    # Given
    headers = {"fluffle-queue": "mine", "fluffle-reason": "lies", "x-first-death-queue": "fl.client.ant"}
    message = Message(b"", headers={**headers, "x-first-death-reason": "delivery_limit"})

    # Then
    dead = read_dead_letter(message, routing_key="key", died_at=7.0)
    assert (dead.queue, dead.died_at) == ("fl.client.ant", 7.0)
    assert dead.reason == "it came back too often: whoever handled it died each time"


def test_a_message_that_is_sent_again_is_as_it_was() -> None:
    # Given what the broker and one of us have written on it
    ours: dict[str, str | int] = {"fluffle-queue": "q", "fluffle-reason": "why", "fluffle-buried-at": 7}
    dead = Message(b"1", type="odd", message_id="id", headers={**ours, "x-delivery-count": 3, "mine": "kept"})

    # Then
    again = revived(read_dead_letter(dead, routing_key="key"))
    assert again == Message(b"1", type="odd", message_id="id", headers={"mine": "kept"})
