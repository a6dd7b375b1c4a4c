"""`make soak`: kill workers, daemons and connections at random moments of run after run, and compare every bit."""

import argparse
import os
import sys
from typing import Final

ABOUT: Final = """\
Plays run after run on a private RabbitMQ, with workers and daemons as processes, each on a wire of its own.
At random moments, which the seed gives, a worker, a daemon, one of each or a trainer is killed (SIGKILL), told to end
(SIGTERM) or stopped for a while (SIGSTOP), or a connection is cut or frozen. Whoever died is started again.

After each run, against the same run undisturbed: the final weights and every commit have the same bits, no round is
committed twice, no client counts twice in a round, and nothing is left on the broker but the log and final weights.
"""

EPILOG: Final = """\
A kill is a process killed, or a connection lost, while a run was in work; the other faults come on top of them.
Where something differs it is said, with the faults of that run; the logs of all parties are kept, and the exit code
is 1. A seed gives the same faults in the same order, at moments that depend on how fast the machine is.
"""


def main() -> int:
    options = _options()
    # Read when numpy is imported, here and in the parties: threads that wait for each other would take most of the time
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tests.faults.soak_node import soak_here  # noqa: PLC0415 - imports numpy

    return soak_here(kills=options.kills, seed=options.seed, n_workers=options.workers)


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


if __name__ == "__main__":
    sys.exit(main())
