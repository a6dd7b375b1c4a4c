"""`make bench`: seconds a round, with training that does nothing but change the weights.

All parties share this process, so that what is measured is the work of both sides and the broker, and not of starting
processes. The floor is the same bytes through the same broker with nothing else done: weights published once and read
by every client, one update of the same size from each. At the end, what the death of a leader costs (`takeover.py`).
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from broker import blob
from broker.base import Message, Queue, Session
from broker.connect import open_session
from broker.local import LocalRabbit
from fl.client.learner import Data
from fl.client.setup import site_from_data
from fl.core.dataset import InMemoryDataset
from fl.core.vector import NumpyVector
from fl.main.embedded import run_embedded
from fl.run.events import Kind, RoundCommitted
from fl.run.spec import RunSpec
from fl.submit.history import Happened
from fl.submit.submission import prepare
from fl.wire.bulk import INLINE_BYTES
from tests.bench import takeover

CASES = ((100_000, 2), (10_000_000, 2), (10_000_000, 8), (100_000_000, 2))
"""Bytes of float32 weights, and clients."""
ROUNDS = 6


async def rounds(url: str, n_bytes: int, n_clients: int) -> list[float]:
    """Seconds between the commits of consecutive training rounds; the first round is left out."""
    n_features = n_bytes // 4 - 1
    rng = np.random.default_rng(0)
    sites = []
    for number in range(n_clients):
        x = rng.normal(size=(1, n_features)).astype(np.float32)
        sites.append(await site_from_data(f"c{number}", Data(InMemoryDataset(x, np.ones(1)))))
    config = {"kind": "regressor", "penalty": None, "dtype": "float32"}
    spec = RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": config},
            "optim": {"client_opt": 1e-9},
            "run": {
                "rounds": ROUNDS,
                "register": n_clients,
                "seed": 0,
                "training": {"batch_size": 1},
                "evaluate": {"batch_size": 1, "frequency": ROUNDS},
            },
        },
        "bench",
    )
    start = NumpyVector.from_arrays(
        {"coef": np.zeros((1, n_features), np.float32), "intercept": np.zeros(1, np.float32)}
    )
    commits: list[float] = []

    def note(happened: Happened) -> None:
        if isinstance(happened.record, RoundCommitted) and happened.record.kind is Kind.TRAIN:
            commits.append(time.perf_counter())

    submission = prepare(spec, start, sender="bench", now=time.time())
    await run_embedded(submission, sites, lambda name: open_session(url, name=name), on_event=note)
    return list(np.diff(commits))


async def floor(url: str, n_bytes: int, n_clients: int) -> list[float]:
    """Seconds for a round's bytes alone."""
    down = await open_session(url, name="floor leader")
    ups = [await open_session(url, name=f"floor {number}") for number in range(n_clients)]
    data = bytes(n_bytes)
    times = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        await (_inline if n_bytes <= INLINE_BYTES else _bulk)(down, ups, data, number)
        times.append(time.perf_counter() - begun)
    for session in (down, *ups):
        await session.close()
    return times[1:]


async def _bulk(down: Session, ups: Iterable[Session], data: bytes, number: int) -> None:
    ref = await blob.put(down, f"floor.w.{number}", data)
    names = [ref.stream]

    async def client(session: Session, place: int) -> None:
        await blob.get(session, ref)
        names.append(f"floor.u.{number}.{place}")
        await blob.get(down, await blob.put(session, names[-1], data))

    await asyncio.gather(*(client(session, place) for place, session in enumerate(ups)))
    for name in names:
        await down.delete(name)


async def _inline(down: Session, ups: Iterable[Session], data: bytes, number: int) -> None:
    queues = [f"floor.q.{place}" for place, _ in enumerate(ups)]
    await down.declare(*(Queue(name) for name in (*queues, "floor.server")))

    async def client(session: Session, queue: str) -> None:
        async with await session.consume(queue, prefetch=1) as requests:
            request = await anext(aiter(requests))
            await session.publish(Message(request.message.body), routing_key="floor.server")
            await request.ack()

    async with asyncio.TaskGroup() as group:
        for session, queue in zip(ups, queues, strict=True):
            group.create_task(client(session, queue))
            group.create_task(down.publish(Message(data), routing_key=queue))
        async with await down.consume("floor.server", prefetch=64) as replies:
            for _ in queues:
                await (await anext(aiter(replies))).ack()


async def measure(url: str, cases: Iterable[tuple[int, int]]) -> list[dict[str, float]]:
    table = []
    for n_bytes, n_clients in cases:
        row = {"MB": n_bytes / 1e6, "clients": n_clients}
        row["embedded_s"] = statistics.median(await rounds(f"memory://bench-{n_bytes}-{n_clients}", n_bytes, n_clients))
        row["rabbitmq_s"] = statistics.median(await rounds(url, n_bytes, n_clients))
        row["floor_s"] = statistics.median(await floor(url, n_bytes, n_clients))
        row["over_floor"] = row["rabbitmq_s"] / row["floor_s"]
        print("  ".join(f"{key} {value:8.4g}" for key, value in row.items()), flush=True)
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-mb", type=float, default=10.0, help="leave out weights larger than this")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with LocalRabbit() as node:
        table = asyncio.run(measure(node.url, [case for case in CASES if case[0] <= options.most_mb * 1e6]))
        takeovers = asyncio.run(takeover.measure(node.url))
    if options.json:
        figures = {"rounds": table, "takeovers": takeovers}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
