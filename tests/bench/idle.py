"""What a site's daemon and a worker have in memory while there is nothing to do."""

from pathlib import Path
from typing import Final

import numpy as np

from tests.bench.stage import stage
from tests.bench.telling import resident_mb

LIMIT_S: Final = 120.0

_CLIENT: Final = """\
name = "idle"
state = "state"
device.gpu = false
train = { path = "train.npy", target = "target.npy" }
"""


async def measure(url: str, folder: Path) -> dict[str, float]:
    """Resident megabytes of each, as it waits for its first run."""
    here = folder / "idle"
    here.mkdir()
    np.save(here / "train.npy", np.zeros((10, 2)))
    np.save(here / "target.npy", np.zeros(10))
    (here / "client.toml").write_text(_CLIENT, "utf-8")
    async with stage(here, limit_s=LIMIT_S) as play:
        daemon = await play.fluffle("daemon", "client", here / "client.toml", FLUFFLE_BROKER=url)
        await play.until_printed(daemon, " ready ")
        worker = await play.fluffle("worker", "server", FLUFFLE_BROKER=url)
        await play.until_printed(worker, " connected ")
        return {"daemon_mb": resident_mb(daemon.pid), "worker_mb": resident_mb(worker.pid)}


def line_of(idle: dict[str, float]) -> str:
    return f"Idle: {idle['daemon_mb']:.0f} MB a site's daemon, {idle['worker_mb']:.0f} MB a worker."
