"""`fluffle quickrun`: a whole experiment in one process."""

import asyncio
import time
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from broker.connect import open_session
from fl.cli.progress import Progress
from fl.client.learner import Data
from fl.client.setup import describe, site_from_data
from fl.client.site import Site
from fl.core.dataset import Dataset
from fl.errors import ConfigError
from fl.main.embedded import run_embedded
from fl.main.experiment import Experiment
from fl.main.files import save_outcome
from fl.main.outcome import Outcome
from fl.submit.submission import prepare


def run_quickly(file: Path, *, broker: str | None, out: Path) -> None:
    """Run the experiment in `file`, show its progress, and write what it leaves to `out`.

    Raises `ConfigError`, `DataError`, and `RunFailed` where it does not finish.
    """
    experiment = Experiment.from_file(file)
    if not experiment.clients:
        raise ConfigError(f"{file}: no [[clients]]: quickrun needs the data of at least one, with name and train.path")
    console = Console()
    outcome = asyncio.run(_run(experiment, broker or f"memory://{uuid4().hex}", console))
    for path in save_outcome(outcome, out):
        console.print(f"wrote {path}", highlight=False)
    outcome.require()


async def _run(experiment: Experiment, url: str, console: Console) -> Outcome:
    sites = [await _site(experiment, place) for place in range(len(experiment.clients))]
    submission = prepare(experiment.spec, None, sender="quickrun", now=time.time())
    with Progress(submission.run, submission.spec, console=console) as progress:
        return await run_embedded(
            submission, sites, lambda name: open_session(url, name=name), on_event=progress.on_event
        )


async def _site(experiment: Experiment, place: int) -> Site:
    config = experiment.clients[place]
    valid = None if config.valid is None else Dataset.load(describe(config.valid))
    data = Data(Dataset.load(describe(config.train)), valid)
    return await site_from_data(config.name, data, share_metrics=config.share_metrics)
