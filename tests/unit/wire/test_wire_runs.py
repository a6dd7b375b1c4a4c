"""Announcements of runs: read as they were written, or refused in words."""

import pytest

from broker.base import Message
from fl.errors import BadMessage
from fl.run.events import Status
from fl.wire.envelope import Body, seal, wrap
from fl.wire.messages_pb2 import CancelRequest, RunClosed, RunSubmitted
from fl.wire.runs import Closed, Opened, Submitted, read_announcement, read_news
from fl.wire.tensors import inline, parcel
from tests.unit.run.histories import a_spec
from tests.unit.wire.tensors_of import a_vector

SPEC = a_spec(rounds=3)


def announced(body: Body) -> Message:
    return seal(wrap("run-1", "researcher", body, now=12.5))


def test_a_submitted_run_is_read_with_its_weights() -> None:
    # Given
    weights = inline(a_vector())
    # When
    announcement = read_announcement(announced(RunSubmitted(spec_json=SPEC.to_json(), weights=weights)))
    # Then
    assert announcement == Submitted("run-1", SPEC, parcel(weights), by="researcher", at=12.5)


def test_a_submitted_run_may_leave_the_weights_to_the_data() -> None:
    # When
    announcement = read_announcement(announced(RunSubmitted(spec_json=SPEC.to_json())))
    # Then
    assert announcement == Submitted("run-1", SPEC, None, by="researcher", at=12.5)


@pytest.mark.parametrize("status", Status)
def test_a_closed_run_is_read_with_its_status(status: Status) -> None:
    # When
    announcement = read_announcement(announced(RunClosed(status=status.value, reason="enough")))
    # Then
    assert announcement == Closed("run-1", status, "enough")


def test_news_of_a_run_are_read_whatever_it_is_about() -> None:
    news = [read_news(announced(body)) for body in (RunSubmitted(spec_json="{"), RunClosed(status="failed"))]

    assert news == [Opened("run-1"), Closed("run-1", Status.FAILED, "")]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(Message(b"\xff"), "are not an envelope", id="noise"),
        pytest.param(announced(CancelRequest()), "a cancel_request is no announcement of a run", id="another message"),
        pytest.param(
            announced(RunSubmitted(spec_json="{")), "run run-1: its spec is not understood here: .*JSON", id="no spec"
        ),
        pytest.param(
            announced(RunSubmitted(spec_json=SPEC.to_json().replace('"rounds"', '"rounds_of_tea"'))),
            "run run-1: its spec is not understood here: .*rounds_of_tea",
            id="a spec of another release",
        ),
        pytest.param(announced(RunClosed(status="gone")), "a run cannot have ended as 'gone'", id="no status"),
        pytest.param(seal(wrap("a run", "x", RunClosed(), now=0)), "run 'a run': use 1 to 64", id="no name of a run"),
    ],
)
def test_what_is_no_announcement_is_refused_in_words(message: Message, reason: str) -> None:
    # Then
    with pytest.raises(BadMessage, match=f"(?s){reason}"):
        # When
        read_announcement(message)
