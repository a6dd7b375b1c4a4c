"""Sites whose clocks are wrong."""

import time
from dataclasses import replace

import pytest

from fl.run.events import RoundCommitted, RunEnded
from tests.integration.parties import Parties
from tests.integration.world import make_spec, of_kind, regression, run_here, sites_of

DAY_S = 86_400.0


@pytest.mark.parametrize("shift_s", [-DAY_S, DAY_S], ids=["a day slow", "a day fast"])
async def test_a_clock_that_is_a_day_wrong_changes_no_bit_and_no_decision(memory_url: str, shift_s: float) -> None:
    # Given what a run comes to where all clocks are right
    spec, datasets = make_spec(rounds=3, clients=2), {"ant": regression(1), "bee": regression(2)}
    right, records = await run_here(f"{memory_url}-right", spec, datasets)

    # When a site's clock is wrong
    async with Parties(memory_url) as parties:
        submission = await parties.submit(spec)
        parties.worker()
        ant, bee = await sites_of(datasets)
        parties.daemon(replace(ant, clock=lambda: time.time() + shift_s))
        parties.daemon(bee)
        wrong = await parties.outcome(submission)
        found = await parties.records(submission)

    # Then weights and decisions are the same
    assert wrong.weights == right.weights
    assert [one.status for one in of_kind(found, RunEnded)] == [one.status for one in of_kind(records, RunEnded)]
    commits, expected = of_kind(found, RoundCommitted), of_kind(records, RoundCommitted)
    assert [without_seconds(one) for one in commits] == [without_seconds(one) for one in expected]


def without_seconds(commit: RoundCommitted) -> RoundCommitted:
    """What was decided, and not how long it took."""
    return replace(commit, participants=tuple(replace(part, seconds=0.0) for part in commit.participants))
