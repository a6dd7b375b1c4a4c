"""Ours in one process: the broker in memory, trainers as threads."""

import argparse
import asyncio

import numpy as np

from broker.connect import open_session
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.core.dataset import InMemoryDataset
from fl.main.embedded import run_embedded
from fl.submit.history import Happened
from tests.bench.contestant import Ground
from tests.bench.figures import Figures
from tests.bench.listening import listen
from tests.bench.our_run import is_round, submission_of
from tests.bench.rows import Row
from tests.bench.stage import stage
from tests.bench.telling import tell_done, tell_idle, tell_round
from tests.bench.usage import Meter


class Embedded:
    """All of its CPU and memory is called the server's."""

    label = "Fluffle, in one process"
    passes = 2

    async def measure(self, row: Row, ground: Ground) -> Figures:
        async with stage(ground.folder, limit_s=row.limit_s) as play:
            process = await play.script("the process", "embedded", row.n_bytes, row.n_clients, row.n_rounds)
            return await listen(play, row, Meter(server=lambda: [process.pid]))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("n_bytes", "n_clients", "n_rounds"):
        parser.add_argument(name, type=int)
    row = Row(**vars(parser.parse_args()))
    data = Data(InMemoryDataset(np.ones((1, 1)), np.ones(1)))
    sites = [await site_from_data(f"c{place}", data) for place in range(row.n_clients)]
    ends = 0

    def note(happened: Happened) -> None:
        nonlocal ends
        if is_round(happened):
            tell_round()
            ends += 1
            if ends == row.n_rounds + 1:
                tell_done()

    tell_idle()
    submission = submission_of(row)
    outcome = await run_embedded(
        submission, sites, lambda name: open_session("memory://bench", name=name), on_event=note
    )
    outcome.require()


if __name__ == "__main__":
    asyncio.run(main())
