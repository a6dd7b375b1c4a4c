"""Who trains privately is killed, and so is who leads: every step that was done is in the ledger, and none is twice."""

from pathlib import Path
from typing import Final

import pytest
from opacus.accountants import RDPAccountant

from fl.core.privacy.ledger import Ledger, Line, epsilons
from fl.run.spec import RunSpec
from tests.faults.campaign import Campaign, Scene, campaign
from tests.faults.points import Point
from tests.faults.stage import make_run

pytestmark = pytest.mark.rabbitmq

ROUNDS: Final = 2
EPSILON: Final = 8.0
DELTA: Final = 1e-3

DAEMON: Final = {
    "it is asked how it trains privately": "after deliver client.bee privacy_request",
    "it has settled that, and not said so": "before publish up.bee privacy_reply",
    "it has paid and trained, and published nothing": "before publish u.1.bee.* chunk 0",
    "its reply is confirmed, and the request is not acknowledged": "after publish up.bee train_reply 1",
    "it has trained twice, and published nothing new": "before publish u.2.bee.* chunk 0",
}

WORKER: Final = {
    "one client has said how it trains": "after deliver server privacy_reply",
    "clients are about to be ready, on their terms": "before publish log clients_ready",
    "new weights are half written": "after publish w.1.* chunk 0",
    "a round is committed, and the next one is not opened": "after publish log round_committed train 1",
}


def private_run() -> RunSpec:
    """Each step sees every sample: noise for other rates takes Opacus seconds to find."""
    spec = make_run(ROUNDS, privacy={"budget": (EPSILON, DELTA), "sclip_norm": 1e-3})
    run = {**spec.model_dump(by_alias=True)["run"], "training": {"batch_size": 4}}
    return RunSpec.parse({**spec.model_dump(by_alias=True), "run": run}, "the stage")


def spent_by(folder: Path) -> list[Line]:
    return Ledger(folder / "state-bee" / "ledger.jsonl").lines()


async def check(played: Campaign, folder: Path) -> None:
    """All rounds counted all clients, and the one that is watched has paid for each round once."""
    told = await played.told()
    lines = spent_by(folder)
    assert [line.entry.round_ for line in lines] == list(range(1, ROUNDS + 1))
    accountant = RDPAccountant()
    accountant.history = [(line.entry.paid.noise_multiplier, 1.0, line.entry.paid.steps) for line in lines]
    assert epsilons(lines)[-1] == pytest.approx(accountant.get_epsilon(DELTA))
    assert 0.99 * EPSILON < epsilons(lines)[-1] <= EPSILON
    assert len(told.commits) == 2 * ROUNDS


@pytest.mark.parametrize("moment", DAEMON)
async def test_a_private_daemon_pays_once_for_a_round_though_it_is_killed_when(
    moment: str, scene: Scene, tmp_path: Path
) -> None:
    async with campaign(scene, private_run()) as played:
        played.parties.worker()
        played.supervise(played.role("daemon", "bee", tmp_path), [Point.parse(DAEMON[moment])])
        await played.sites("bee")

        await check(played, tmp_path)


@pytest.mark.parametrize("moment", WORKER)
async def test_a_private_daemon_pays_once_for_a_round_though_its_leader_is_killed_when(
    moment: str, scene: Scene, tmp_path: Path
) -> None:
    async with campaign(scene, private_run()) as played:
        played.supervise(played.role("worker", "worker", tmp_path), [Point.parse(WORKER[moment])])
        played.supervise(played.role("daemon", "bee", tmp_path), [])
        await played.sites("bee")

        await check(played, tmp_path)
