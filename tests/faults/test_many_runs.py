"""A daemon that has served two hundred runs is as it was after twenty."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psutil
import pytest

from broker import topology
from broker.local import LocalRabbit
from fl.run.events import Status
from tests.integration.parties import Parties
from tests.integration.processes import environment
from tests.integration.world import make_spec, until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(600)]  # a minute alone, several beside others

RUNS: Final = 200
SETTLED: Final = 20
"""Runs after which a process has loaded what it ever loads."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What a process holds."""

    files: int
    children: int
    state: tuple[Path, ...]
    queues: frozenset[str]


def traces(rabbit: LocalRabbit, vhost: str, daemon: psutil.Process, folder: Path) -> Traces:
    listed = rabbit.ctl("list_queues", "-p", vhost, "name", "--quiet", "--no-table-headers").split()
    state = tuple(path for path in (folder / "ant" / "state").rglob("*") if path.is_file())
    return Traces(daemon.num_fds(), len(daemon.children()), state, frozenset(listed))


@contextmanager
def running(url: str, folder: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon, which is told to end with the block."""
    command = [sys.executable, "-m", "tests.faults.many_runs_daemon", url, str(folder)]
    with log.open("wb") as errors, subprocess.Popen(command, env=environment(folder), stderr=errors) as process:
        try:
            yield process
        finally:
            process.terminate()


def at_rest(daemon: psutil.Process, log: Path, runs: int) -> bool:
    return log.read_text().count(" run_over ") == runs and not daemon.children()


async def test_two_hundred_runs_leave_nothing_at_a_site(
    rabbit: LocalRabbit, vhosts: Iterator[str], tmp_path: Path
) -> None:
    vhost = next(vhosts)
    url = f"{rabbit.url}{vhost}"
    log, held = tmp_path / "ant.log", dict[int, tuple[int, Traces]]()
    with running(url, tmp_path, log) as process:
        daemon = psutil.Process(process.pid)
        async with Parties(url) as parties:
            parties.worker()
            for number in range(1, RUNS + 1):
                # When run after run is served, and pruned
                submission = await parties.submit(make_spec(rounds=1, clients=1))
                assert (await parties.outcome(submission)).status is Status.FINISHED
                await parties.until_closed(submission)
                await parties.owner.delete(topology.run_log(submission.run))
                await until(partial(at_rest, daemon, log, number))
                if number in {SETTLED, RUNS}:
                    held[number] = daemon.memory_info().rss, traces(rabbit, vhost, daemon, tmp_path)

    # Then it holds what it held near the beginning, and ends well
    (early, before), (late, after) = held[SETTLED], held[RUNS]
    assert after == before
    assert after.state == ()
    assert after.queues == {topology.client_queue("ant"), topology.RUNS.name, topology.DEAD_QUEUE.name}
    assert late < 1.05 * early, f"{early / 2**20:.1f} MiB after {SETTLED} runs, {late / 2**20:.1f} after {RUNS}"
    assert process.returncode == 0
    print(f"\na daemon's memory: {early / 2**20:.1f} MiB after {SETTLED} runs, {late / 2**20:.1f} after {RUNS}")  # noqa: T201  # a number to look at
