"""`python -m tests.bench.scale`: rounds with many clients, real messages and a real RabbitMQ.

The worker is a process as in production; a run with shards has as many workers. The clients are light: they share a
few processes (`crowd.py`). Shown are seconds a round, the most memory that a worker has above what it has when idle,
and whose seconds of CPU a round takes.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from broker import topology
from broker.base import Session
from broker.connect import open_session
from broker.local import LocalRabbit
from fl.core.vector import NumpyVector
from fl.run.events import Kind, RoundCommitted, RunEnded, Status
from fl.run.spec import RunSpec
from fl.submit.history import follow
from fl.submit.submission import prepare, submit
from tests.bench.scale_table import scale_table
from tests.bench.table import machine
from tests.bench.takeover import spec_of
from tests.bench.telling import peak_mb, resident_mb
from tests.bench.usage import Meter

CLIENTS: Final = (8, 64, 256, 1000)
MEGABYTES: Final = (0.1, 1.0)
COUNTED: Final = 3
"""Rounds of which the median is taken, after a first one."""
CROWDS: Final = 2
"""Processes that the clients share."""


def weights_of(n_bytes: int) -> NumpyVector:
    size = n_bytes // 4 - 1
    values = np.random.default_rng(0).standard_normal((1, size), dtype=np.float32)
    return NumpyVector.from_arrays({"coef": values, "intercept": np.zeros(1, np.float32)})


@contextmanager
def process(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process that ends with the block."""
    running = subprocess.Popen([sys.executable, "-m", *words])  # a module of ours
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


def sharing(spec: RunSpec, shards: int) -> RunSpec:
    return spec.model_copy(update={"run": spec.run.model_copy(update={"shards": shards})})


async def until_attended(session: Session, run: str) -> None:
    """Return once a worker stands by a run: all is imported, and there are no weights yet."""
    async with asyncio.timeout(120.0):
        while (await session.count(topology.run_queue(run))).consumers == 0:
            await asyncio.sleep(0.1)


async def rounds(node: LocalRabbit, n_bytes: int, n_clients: int, *, shards: int, counted: int) -> dict[str, float]:
    """One run: the medians of its rounds, and what they used."""
    spec = sharing(spec_of(n_clients, 1 + counted), shards)
    submission = prepare(spec, weights_of(n_bytes), sender="bench", now=time.time())
    beam = int(node.ctl("eval", "os:getpid().").strip().strip(chr(34)))  # takes seconds, and no heart beats meanwhile
    session = await open_session(node.url, name="scale")
    server = ("fl.cli", "server", "--broker", node.url, "--log", "warning")
    with ExitStack() as stack:
        workers = [stack.enter_context(process(*server)).pid for _ in range(shards)]
        await submit(session, submission)
        await until_attended(session, submission.run)
        each = {f"worker{number}": partial(list[int], [pid]) for number, pid in enumerate(workers, 1)}
        meter = Meter(server=lambda: workers, broker=lambda: [beam], clients=lambda: crowds, **each)
        share = -(-n_clients // CROWDS)
        edges = [(first, min(first + share, n_clients)) for first in range(0, n_clients, share)]
        crowds: list[int] = []
        idle_mb, times = max(map(resident_mb, workers)), []
        with crowd_of(node.url, submission.run, edges) as found:
            crowds += found
            async for one in follow(session, submission.run, spec):
                if isinstance(one.record, RunEnded) and one.record.status is not Status.FINISHED:
                    raise SystemExit(f"the run {one.record.status.value}: {one.record.reason}")
                if isinstance(one.record, RoundCommitted) and one.record.kind is Kind.TRAIN:
                    times.append(one.at)
                    if len(times) == 1:
                        meter.start()
            used = meter.read()
        most_mb = max(map(peak_mb, workers))
    await session.close()
    return {
        "MB": n_bytes / 1e6,
        "clients": n_clients,
        "shards": shards,
        "round_s": statistics.median(np.diff(times)),
        "worker_mb": most_mb - idle_mb,
        **{f"{side}_cpu_s": seconds / counted for side, seconds in used.cpu_s.items()},
    }


@contextmanager
def crowd_of(url: str, run: str, edges: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Processes of light clients; their ids."""
    words = [sys.executable, "-m", "tests.bench.crowd", url, run]
    started = [subprocess.Popen([*words, str(first), str(last)]) for first, last in edges]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.terminate()
            one.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help=f"how many: {CLIENTS}")
    parser.add_argument("--mb", type=float, nargs="+", default=MEGABYTES, help=f"sizes of the weights: {MEGABYTES}")
    parser.add_argument("--shards", type=int, nargs="+", default=(1,), help="how many workers share a sum: 1")
    parser.add_argument("--rounds", type=int, default=COUNTED, help=f"how many are measured: {COUNTED}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    table = []
    with LocalRabbit() as node:
        for megabytes in options.mb:
            for n_clients, shards in product(options.clients, options.shards):
                n_bytes = round(megabytes * 1e6)
                row = asyncio.run(rounds(node, n_bytes, n_clients, shards=shards, counted=options.rounds))
                print("  ".join(f"{key} {value:8.4g}" for key, value in row.items()), flush=True)
                table.append(row)
    print(f"\n{scale_table(table)}\n\n{machine()}.")
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
