"""Who leads a centrally private run is killed over its sums: no noise differs, and no sum is left uncounted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from opacus.accountants import RDPAccountant

from broker import blob, topology
from fl.core.vector import NumpyVector
from fl.main.simulation import simulate
from fl.main.simulation_crowd import VirtualClient
from fl.run.apply import apply
from fl.run.events import Record
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.submit.history import Happened
from fl.submit.submission import Submission
from tests.faults.campaign import Campaign, Scene, Told, campaign
from tests.faults.points import Point
from tests.faults.stage import CLIENTS, OPTIM, data_of
from tests.integration.private import offer_secret
from tests.integration.world import make_spec

pytestmark = pytest.mark.rabbitmq

ROUNDS: Final = 2
EPSILON: Final = 8.0
DELTA: Final = 1e-3
SECRET: Final = bytes(range(32))

POINTS: Final[Mapping[str, tuple[str, int, *tuple[int, ...]]]] = {
    "it has offered a secret of its own": ("after publish secret offer", 0),
    "it is about to be settled whose updates are in the sum": ("before publish log round_closed", 0),
    "it is settled whose updates are in the sum": ("after publish log round_closed", 1),
    "two updates are in the sum, and the last one is half read": ("after deliver u.1.* chunk 0 #3", 0, 1),
    "it has half read the weights that it adds the noisy sum to": ("after deliver w.0.* chunk 0", 1),
    "noisy weights are half written": ("after publish w.1.* chunk 0", 1),
    "noisy weights are written, and the record is not": ("before publish log round_committed train 1", 1),
    "the record is written": ("after publish log round_committed train 1", 0),
    "noisy weights of the last round are written, and the record is not": (
        "before publish log round_committed train 2",
        1,
    ),
}
"""Moments, and how many sums more than one a round are counted then: it may depend on who is quicker."""


def noisy_run(rounds: int = ROUNDS) -> RunSpec:
    """As all campaigns play it, but that nothing is told beside updates."""
    private = {"budget": (EPSILON, DELTA), "clip_norm": 1e-3, "adaptive": True}
    spec = make_spec(rounds=rounds, clients=3, evaluate=False, training={"batch_size": 2}, central_privacy=private)
    optim = {
        side: {**table, "modules": [module for module in table["modules"] if "scaffold" not in module[0]]}
        for side, table in OPTIM.items()
    }
    return RunSpec.parse({**spec.model_dump(by_alias=True), "name": "noisy", "optim": optim}, "the stage")


def alone(submission: Submission) -> tuple[Told, NumpyVector]:
    """What the run comes to where nothing happens: its noise is that of its name and secret, whoever adds it."""
    records: list[Record] = []

    def note(happened: Happened) -> None:
        records.append(happened.record)

    clients = [VirtualClient(name, data_of(name)) for name in CLIENTS]
    outcome = simulate(submission.spec, clients, run=submission.run, secret=SECRET, on_event=note)
    assert outcome.weights is not None, "a finished run leaves weights"
    return Told.of(outcome, records), outcome.weights


async def counted(played: Campaign) -> int:
    """Sums that the run's log tells of."""
    state = RunState(played.submission.run, played.submission.spec)
    for record in await played.parties.records(played.submission):
        state = apply(state, record)
    return state.released


def epsilon(spec: RunSpec, sums: int) -> float:
    """As Opacus has it."""
    assert spec.run.central_privacy is not None
    accountant = RDPAccountant()
    accountant.history = [(spec.run.central_privacy.z, 1.0, sums)]
    return float(accountant.get_epsilon(DELTA))


@pytest.mark.parametrize("moment", POINTS)
async def test_a_leader_that_adds_noise_may_be_killed_when(moment: str, scene: Scene, tmp_path: Path) -> None:
    # Given: a run, and two workers, of which the first leads
    point, *more = POINTS[moment]
    async with campaign(scene, noisy_run()) as played:
        await offer_secret(played.parties.owner, played.submission.run, SECRET)
        leader = played.supervise(played.role("worker", "leader", tmp_path), [Point.parse(point)])
        await played.until_led(leader.victim)
        played.parties.worker("standby")

        # When: it is killed at that moment, and started again
        await played.sites()
        told = await played.told()
        sums = await counted(played)

    # Then
    undisturbed, _ = alone(played.submission)
    assert told == undisturbed
    assert sums - ROUNDS in more
    assert epsilon(played.submission.spec, sums) <= EPSILON


async def test_weights_that_a_killed_leader_has_published_are_those_that_its_successor_publishes(
    scene: Scene, tmp_path: Path
) -> None:
    async with campaign(scene, noisy_run(rounds=1)) as played:
        run = played.submission.run
        await offer_secret(played.parties.owner, run, SECRET)
        # When: one leader is killed over its commit, and what it has published is read before another comes
        point = Point.parse("before publish log round_committed train 1")
        first = played.enlist(played.role("worker", "first", tmp_path), point)
        await played.sites()
        await first.until_dead()
        undisturbed, weights = alone(played.submission)
        stream = topology.weights_stream(run, 1, await played.parties.leader(played.submission))
        published = await blob.get(played.parties.owner, blob.ref_of(stream, weights.pack()))
        played.parties.worker("second")
        told = await played.told()
    # Then
    assert told == undisturbed
    assert bytes(published) == told.weights
