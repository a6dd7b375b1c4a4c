"""A leader is killed while it writes exact weights, and then those that clients get: no bit of the run changes."""

import asyncio
import secrets
from pathlib import Path
from typing import Final

import pytest

from tests.faults.campaign import Scene, Told, campaign, undisturbed
from tests.faults.points import Point
from tests.faults.stage import make_run

pytestmark = pytest.mark.rabbitmq

RUN: Final = make_run(compression="bf16")

POINTS: Final = {
    "the first weights are written, and not what is sent": "before declare c.0.*",
    "what is sent first is written, and the run is not initialised": "before publish log run_initialised",
    "new weights are written, and not what is sent": "before declare c.1.*",
    "what is sent has its stream": "after declare c.1.*",
    "what is sent is written, and the optimizer's state is not": "before declare s.1.*",
    "all bulk is written, and the record is not": "before publish log round_committed train 1",
    "a commit is written, and not read back": "after publish log round_opened evaluate 1",
    "what was sent before is deleted": "after delete c.0.*",
    "what is sent last is written, and the record is not": "before publish log round_committed train 2",
    "what was sent last is deleted": "after delete c.2.*",
}


@pytest.fixture(scope="module")
def rounded() -> Told:
    """What the run comes to where nothing happens."""
    return asyncio.run(undisturbed(f"memory://{secrets.token_hex(4)}", RUN))


@pytest.mark.parametrize("moment", POINTS)
async def test_a_leader_that_compresses_may_be_killed_when(
    moment: str, scene: Scene, rounded: Told, tmp_path: Path
) -> None:
    # Given: a run, and two workers, of which the first leads
    async with campaign(scene, RUN) as played:
        leader = played.supervise(played.role("worker", "leader", tmp_path), [Point.parse(POINTS[moment])])
        await played.until_led(leader.victim)
        played.parties.worker("standby")

        # When: it is killed at that moment, and started again
        await played.sites()
        told = await played.told()

    # Then
    assert told == rounded
