"""Workers, daemons and connections are lost at random moments: no bit of any run may change."""

from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from tests.faults.campaign import Scene, Told
from tests.faults.inventory import STREAM
from tests.faults.soak_cases import SHORT
from tests.faults.soak_check import differences, surplus
from tests.faults.soak_faults import What, schedule
from tests.faults.soak_play import Plan, soak

KILLS: Final = 50
SEED: Final = 4


@pytest.mark.rabbitmq
@pytest.mark.timeout(600)
async def test_no_bit_of_any_run_changes_under_fifty_random_kills(scene: Scene, tmp_path: Path) -> None:
    said: list[str] = []

    # When: workers, daemons and connections are killed while runs are in work; what a run comes to is looked at there
    tally = await soak(scene, tmp_path, Plan(kills=KILLS, seed=SEED, cases=SHORT), said.append)

    # Then: all of them were, and leaders among them
    assert tally.kills >= KILLS
    assert len(said) == tally.runs
    assert {(What.KILL, "worker"), (What.KILL, "daemon"), (What.CUT, "worker"), (What.CUT, "daemon")} <= {*tally.faults}
    assert tally.takeovers > 0


def test_a_seed_gives_the_same_faults_each_time() -> None:
    one, again, other = (
        list(islice(schedule(seed, workers=["w"], daemons=["ant", "bee"]), 20)) for seed in (SEED, SEED, SEED + 1)
    )

    assert one == again
    assert one != other


def test_a_soak_sees_another_commit_a_missing_one_and_other_weights() -> None:
    calm = Told(b"weights", ("first", "second"))

    assert not [*differences(calm, calm, [])]
    assert [*differences(Told(b"weights", ("first", "last")), calm, [])] == [
        "the first commit that differs is\nlast\ninstead of\nsecond"
    ]
    assert [*differences(Told(b"other", ("first",)), calm, [])] == [
        "1 commits instead of 2",
        "the final weights have other bits",
    ]


def test_a_soak_sees_what_is_left_too_much_and_what_is_gone() -> None:
    left = {"fl.runs": STREAM, "fl.dead": 1, "fl.run.r.u.1.ant.leader": STREAM}
    expected = {"fl.runs": STREAM, "fl.dead": 0, "fl.run.r.log": STREAM}

    assert [*surplus(left, expected)] == [
        "fl.dead: a queue of 1 messages instead of a queue of 0 messages",
        "fl.run.r.log: nothing instead of a stream",
        "fl.run.r.u.1.ant.leader: a stream instead of nothing",
    ]
