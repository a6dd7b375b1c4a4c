"""`fluffle quickrun`: a whole experiment in one process."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from broker.connect import open_session
from fl.cli.progress import Progress
from fl.cli.terminal import silence_logs, terminal
from fl.client.config import ClientConfig
from fl.client.learner import Data
from fl.client.setup import describe, site_from_data
from fl.client.site import Site
from fl.core.dataset import Dataset
from fl.errors import ConfigError
from fl.main.embedded import run_embedded
from fl.main.experiment import Experiment
from fl.main.files import save_outcome
from fl.main.outcome import Outcome
from fl.submit.submission import Submission, prepare


def run_quickly(file: Path, *, broker: str | None, out: Path, weights: Path | None = None) -> None:
    """Run the experiment in `file`, show its progress, and write what it leaves to `out`.

    `weights` is what it starts from, if not from what the file says.
    Raises `ConfigError`, `DataError`, `ModelError`, and `RunFailed` where it does not finish.
    """
    experiment = Experiment.from_file(file)
    if not experiment.clients:
        raise ConfigError(f"{file}: no [[clients]]: quickrun needs the data of at least one, with name and train.path")
    silence_logs()
    console = terminal()
    start = experiment.start(weights)
    submission = prepare(experiment.spec, start, sender="quickrun", now=time.time())
    outcome = asyncio.run(run_and_show(experiment, submission, broker or f"memory://{uuid4().hex}", console=console))
    for path in save_outcome(outcome, out):
        console.print(f"wrote {path}", soft_wrap=True)
    outcome.require()


async def run_and_show(experiment: Experiment, submission: Submission, url: str, *, console: Console) -> Outcome:
    """Run with the experiment's clients in this process, over the broker at `url`, and show how it goes."""
    sites = [await _site(config) for config in experiment.clients]
    with Progress(submission.run, submission.spec, console=console) as progress:
        return await run_embedded(
            submission, sites, lambda name: open_session(url, name=name), on_event=progress.on_event
        )


async def _site(config: ClientConfig) -> Site:
    valid = None if config.valid is None else Dataset.load(describe(config.valid))
    data = Data(Dataset.load(describe(config.train)), valid)
    site = await site_from_data(
        config.name, data, device=config.device, share_metrics=config.share_metrics, privacy=config.privacy
    )
    return replace(site, checkpoint=config.checkpoint)
