"""`make soak`: kill workers, daemons and connections at random moments of run after run, and compare every bit."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from broker.local import LocalRabbit
from tests.faults.campaign import Scene
from tests.faults.soak_play import Broken, Tally, soak
from tests.faults.troupe import troupe
from tests.rabbit_tools import MAX_CHANNELS, MAX_MESSAGE_BYTES

ABOUT: Final = """\
Plays run after run on a private RabbitMQ, with workers and daemons as processes, each on a wire of its own.
At random moments, which the seed gives, a worker, a daemon or one of each is killed (SIGKILL), told to end (SIGTERM)
or stopped for a while (SIGSTOP), or a connection is cut or frozen. Whoever died is started again.

After each run, against the same run undisturbed: the final weights and every commit have the same bits, no round is
committed twice, no client counts twice in a round, and nothing is left on the broker but the log and final weights.
"""

EPILOG: Final = """\
A kill is a process killed or a connection lost while a run was in work; the other faults come on top of them.
Where something differs it is said, with the faults of that run; the logs of all parties are kept, and the exit code
is 1. A seed gives the same faults in the same order, at moments that depend on how fast the machine is.
"""


def main() -> int:
    options = _options()
    # The server that forks the parties inherits it: threads that wait for each other would take most of the time
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="fluffle-soak-"))
    try:
        tally = asyncio.run(_soak(folder, options))
    except Broken as broken:
        _say(f"Seed {options.seed}: {broken}\nThe logs of all parties are in {folder}")
        return 1
    shutil.rmtree(folder)
    _say(f"Every bit as undisturbed: {tally}\n{tally.by_fault()}")
    return 0


async def _soak(folder: Path, options: argparse.Namespace) -> Tally:
    limits = {"max_message_size": str(MAX_MESSAGE_BYTES), "channel_max": str(MAX_CHANNELS)}
    with LocalRabbit(extra_config=limits) as rabbit, troupe() as players:
        scene = Scene(rabbit, f"{rabbit.url}%2F", players)
        return await soak(scene, folder, kills=options.kills, seed=options.seed, n_workers=options.workers, say=_say)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.faults.soak",
        description=ABOUT,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=1000, help="go on until there were so many (1000)")
    parser.add_argument("--seed", type=int, default=7, help="of the schedule of faults (7)")
    parser.add_argument("--workers", type=int, default=2, help="how many stand by each run (2)")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its progress is its output


if __name__ == "__main__":
    sys.exit(main())
