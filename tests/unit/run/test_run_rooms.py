"""Which leaders may have asked clients for bulk, as far as it may be there still: their rooms are to be cleared."""

import pytest

from fl.run.events import Event, Kind, LeaderStarted, RunEnded, Status
from tests.unit.run.histories import LEADS, W, a_spec, a_state, admitted, initialised, opened, trained, training

TWO = a_spec(rounds=3, register=2)
SECOND = LeaderStarted("leader-2", "worker-2", 1)
THIRD = LeaderStarted("leader-3", "worker-1", 1)
ONE_ROUND = (*training("a", "b"), trained(1, "a", "b"))

ROWS: dict[str, tuple[tuple[Event, ...], dict[int, tuple[str, ...]]]] = {
    "nobody before a round": ((LEADS, admitted("a", "b"), initialised(), SECOND), {}),
    "who opened a training round": (training("a", "b"), {1: ("leader-1",)}),
    "and each who took it over, in order": (
        (*training("a", "b"), SECOND, THIRD),
        {1: ("leader-1", "leader-2", "leader-3")},
    ),
    "still after its commit": (ONE_ROUND, {1: ("leader-1",)}),
    "but not who led only afterwards": ((*ONE_ROUND, SECOND), {1: ("leader-1",)}),
    "nor who took over an evaluation": (
        (*ONE_ROUND, opened(1, "a", "b", kind=Kind.EVALUATE), SECOND),
        {1: ("leader-1",)},
    ),
    "those of the last committed round while the next is open": (
        (*training("a", "b"), SECOND, trained(1, "a", "b"), THIRD, opened(2, "a", "b")),
        {1: ("leader-1", "leader-2"), 2: ("leader-3",)},
    ),
    "and no older ones": (
        (*ONE_ROUND, SECOND, opened(2, "a", "b"), trained(2, "a", "b"), opened(3, "a", "b")),
        {2: ("leader-2",), 3: ("leader-2",)},
    ),
    "those of a round that the end cut short": (
        (*training("a", "b"), SECOND, RunEnded(Status.CANCELLED, "enough", 0, W[0]), THIRD),
        {1: ("leader-1", "leader-2")},
    ),
}


@pytest.mark.parametrize("fact", ROWS)
def test_rooms_may_be_there_of(fact: str) -> None:
    records, asked_by = ROWS[fact]

    assert a_state(TWO, *records).asked_by == asked_by
