"""Ours as in production: a worker and daemons as processes, each daemon's trainer another, through RabbitMQ."""

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from broker.base import Session
from broker.connect import open_session
from fl.run.events import RunEnded, Status
from fl.submit.history import follow
from fl.submit.submission import Submission, submit
from fl.tasks import together
from tests.bench.constant_model import installed
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import figures_of
from tests.bench.our_run import is_round, submission_of
from tests.bench.results import OURS
from tests.bench.rows import Row
from tests.bench.stage import ROOT, Actor, ContestantFailed, Stage, stage
from tests.bench.usage import Meter

_CONNECTED: Final = " connected "
"""What workers and daemons log when they are ready."""


@dataclass(frozen=True, slots=True)
class OverRabbitMQ:
    """`compression` is the run's: how updates and weights travel."""

    compression: str = "none"
    passes: int = 2

    @property
    def label(self) -> str:
        return OURS if self.compression == "none" else f"{OURS}, {self.compression}"

    async def measure(self, row: Row, ground: Ground) -> Figures:
        with TemporaryDirectory(dir=ground.folder) as home:
            async with stage(Path(home), limit_s=row.limit_s) as play:
                worker, daemons = await _ready(play, row, ground.broker_url)
                meter = Meter(
                    server=lambda: [worker.pid],
                    clients=lambda: [daemon.pid for daemon in daemons],
                    broker=lambda: [ground.broker_pid],
                )
                meter.note_idle()
                async with together() as group:
                    watch = group.create_task(play.watch())
                    submission = submission_of(row, compression=self.compression)
                    figures = await _run(submission, row, ground.broker_url, meter)
                    watch.cancel()
                return figures


async def _ready(play: Stage, row: Row, url: str) -> tuple[Actor, list[Actor]]:
    """The worker and the daemons, connected, and idle."""
    path = f"{ROOT}:{installed(play.folder)}"
    np.save(play.folder / "one.npy", np.ones((1, 1)))

    async def fluffle(name: str, *arguments: str | Path) -> Actor:
        command = (sys.executable, "-m", "fl.cli", *arguments)
        return await play.start(name, *command, PYTHONPATH=path, FLUFFLE_BROKER=url)

    worker = await fluffle("the worker", "server", "--name", "bench")
    daemons = []
    for place in range(row.n_clients):
        file = play.folder / f"c{place}.toml"
        file.write_text(
            f'name = "c{place}"\nstate = "state-c{place}"\ndevice.gpu = false\n'
            'train = { path = "one.npy", target = "one.npy" }\n',
            "utf-8",
        )
        daemons.append(await fluffle(f"daemon c{place}", "client", file))
    for actor in (worker, *daemons):
        await play.until_printed(actor, _CONNECTED)
    return worker, daemons


async def _run(submission: Submission, row: Row, url: str, meter: Meter) -> Figures:
    """Submit the run, watch its log for when rounds are committed, and wait for its end."""
    owner = await open_session(url, name="bench")
    try:
        await submit(owner, submission)
        return await _measured(owner, submission, row, meter)
    finally:
        await owner.close()


async def _measured(owner: Session, submission: Submission, row: Row, meter: Meter) -> Figures:
    ends: list[float] = []
    figures = None
    async for happened in follow(owner, submission.run, submission.spec):
        if is_round(happened) and figures is None:
            ends.append(happened.at)
            if len(ends) == 1:
                meter.start()
            elif len(ends) == row.n_rounds + 1:
                figures = figures_of(ends, row, meter)
        if isinstance(happened.record, RunEnded) and happened.record.status is not Status.FINISHED:
            raise ContestantFailed(f"the run {happened.record.status.value}: {happened.record.reason}")
    if figures is None:
        raise ContestantFailed(f"the run ended after {len(ends)} rounds")
    return figures
