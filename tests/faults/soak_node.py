"""A soak on a private RabbitMQ node, told on standard output."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from broker.local import LocalRabbit
from tests.faults.campaign import Scene
from tests.faults.soak_play import Broken, Plan, Tally, soak
from tests.faults.troupe import troupe
from tests.rabbit_tools import MAX_CHANNELS, MAX_MESSAGE_BYTES


def soak_here(*, kills: int, seed: int, n_workers: int) -> int:
    """Play it, and return the exit code. The parties' logs are kept where something differs."""
    folder = Path(tempfile.mkdtemp(prefix="fluffle-soak-"))
    try:
        tally = asyncio.run(_soak(folder, Plan(kills, seed, n_workers=n_workers)))
    except Broken as broken:
        _say(f"Seed {seed}: {broken}\nThe logs of all parties are in {folder}")
        return 1
    shutil.rmtree(folder)
    _say(f"Every bit as undisturbed: {tally}\n{tally.by_fault()}")
    return 0


async def _soak(folder: Path, plan: Plan) -> Tally:
    limits = {"max_message_size": str(MAX_MESSAGE_BYTES), "channel_max": str(MAX_CHANNELS)}
    with LocalRabbit(extra_config=limits) as rabbit, troupe() as players:
        return await soak(Scene(rabbit, f"{rabbit.url}%2F", players), folder, plan, _say)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its progress is its output
