"""What the death of a leader costs: seconds from SIGKILL in mid-round to the next commit, less an undisturbed round.

Both workers are processes; the clients, which share this one, train in no time.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from broker import topology
from broker.errors import NotFound
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.core.dataset import InMemoryDataset
from fl.run.events import RoundCommitted
from fl.run.spec import RunSpec
from fl.submit.history import follow
from tests.faults.points import Point
from tests.faults.troupe import Troupe, Victim, troupe
from tests.faults.victim import Role
from tests.integration.parties import Parties

SIZES: Final = (100_000, 10_000_000)
"""Bytes of float32 weights."""
CLIENTS: Final = ("ant", "bee")
TIMES: Final = 5
ROUNDS: Final = 3
MID_ROUND: Final = Point("after", "deliver server train_reply 2")
"""In the second round, when one client has answered."""
MOST_S: Final = 2.0
"""What a takeover may cost."""


def spec_of(n_clients: int, rounds: int = ROUNDS) -> RunSpec:
    """Rounds that train in no time, and fail rather than wait for clients that went."""
    model = {"kind": "sklearn-sgd", "config": {"kind": "regressor", "penalty": None, "dtype": "float32"}}
    run = {
        "rounds": rounds,
        "register": n_clients,
        "seed": 0,
        "training": {"batch_size": 1},
        "evaluate": False,
        "patience": 0,
    }
    return RunSpec.parse({"model": model, "optim": {"client_opt": 1e-9}, "run": run}, "takeover")


def data_of(n_bytes: int) -> Data:
    features = np.random.default_rng(0).normal(size=(1, n_bytes // 4 - 1)).astype(np.float32)
    return Data(InMemoryDataset(features, np.ones(1)))


class Play:
    """One run of two workers, whose leader dies at a point, or nowhere."""

    def __init__(self, url: str, players: Troupe, folder: Path) -> None:
        self._url = url
        self._players = players
        self._folder = folder

    async def commits(self, n_bytes: int, point: Point | None) -> tuple[list[float], float]:
        """When each round was committed, and when the leader was found dead; seconds since the epoch."""
        spec, died_at = spec_of(len(CLIENTS)), 0.0
        async with Parties(self._url) as parties:
            submission = await parties.submit(spec)
            leader = self._worker("leader", point)
            await _until_led(parties, submission.run)
            standby = self._worker("standby", None)
            for name in CLIENTS:
                parties.daemon(await site_from_data(name, data_of(n_bytes)))
            if point is not None:
                await leader.until_dead()
                died_at = time.time()
            happened = follow(parties.owner, submission.run, spec)
            times = [one.at async for one in happened if isinstance(one.record, RoundCommitted)]
            await parties.until_closed(submission)
            for worker in (leader, standby):
                worker.end()
        return times, died_at

    def _worker(self, name: str, point: Point | None) -> Victim:
        return self._players.start(Role("worker", name, self._url, self._folder), point)


async def _until_led(parties: Parties, run: str) -> None:
    consumers = 0
    while not consumers:
        await asyncio.sleep(0.01)
        with suppress(NotFound):
            consumers = (await parties.owner.count(topology.run_queue(run))).consumers


async def measure(url: str, sizes: Iterable[int] = SIZES) -> list[dict[str, float]]:
    """A row for each size. What it costs may be less than nothing: the successor needs only one reply more."""
    table = []
    with troupe() as players, tempfile.TemporaryDirectory() as folder:
        play = Play(url, players, Path(folder))
        for n_bytes in sizes:
            calm = [np.diff((await play.commits(n_bytes, None))[0]) for _ in range(TIMES)]
            killed = [await play.commits(n_bytes, MID_ROUND) for _ in range(TIMES)]
            row = {
                "MB": n_bytes / 1e6,
                "round_s": float(np.median(calm)),
                "killed_to_commit_s": statistics.median(times[1] - died_at for times, died_at in killed),
            }
            row["takeover_s"] = row["killed_to_commit_s"] - row["round_s"]
            print(
                "  ".join(f"{key} {value:8.4g}" for key, value in row.items()), f" (to reach: {MOST_S:g})", flush=True
            )
            table.append(row)
    return table
