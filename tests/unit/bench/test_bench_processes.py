"""How `make bench` starts, hears and measures processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.bench.listening import listen
from tests.bench.rows import Row
from tests.bench.stage import ContestantFailed, stage
from tests.bench.telling import peak_mb, resident_mb
from tests.bench.usage import Meter, cpu_s, family
from tests.integration.processes import alive

PATIENCE_S: Final = 60.0
ROW: Final = Row(0, 1, 2)

BUSY: Final = """
import time
while time.process_time() < {seconds}:
    pass
print(time.process_time(), flush=True)
time.sleep(600)
"""

PARENT: Final = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""

SERVER: Final = """
from tests.bench.telling import tell_done, tell_idle, tell_round
tell_idle()
for _ in range({rounds}):
    print("what a library says")
    tell_round()
tell_done()
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that end with the test."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for one in running:
        for pid in family([one.pid]):
            os.kill(pid, signal.SIGKILL)
        one.communicate()


def first_line(script: str, started: list["subprocess.Popen[str]"]) -> str:
    """Start a script, and read the first line that it prints."""
    started.append(subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True))
    pipe = started[-1].stdout
    assert pipe is not None
    return pipe.readline()


def test_cpu_of_another_process_is_what_it_says_itself(started: list["subprocess.Popen[str]"]) -> None:
    said = float(first_line(BUSY.format(seconds=0.3), started))

    assert cpu_s(started[0].pid) == pytest.approx(said, abs=0.2)


def test_cpu_of_children_that_have_ended_counts() -> None:
    before = cpu_s(os.getpid())

    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)

    assert cpu_s(os.getpid()) - before > 0.25


def test_a_family_is_a_process_and_all_that_it_has_started(started: list["subprocess.Popen[str]"]) -> None:
    child = int(first_line(PARENT, started))

    assert family([started[0].pid]) == [started[0].pid, child]


def test_the_peak_of_memory_stays_when_the_memory_is_given_back() -> None:
    before = resident_mb("self")

    block = bytearray(200_000_000)
    block[::4096] = b"x" * len(block[::4096])
    del block

    assert peak_mb("self") > before + 190


async def test_rounds_are_measured_from_the_end_of_the_first(tmp_path: Path) -> None:
    async with stage(tmp_path, limit_s=PATIENCE_S) as play:
        server = await play.start("the server", sys.executable, "-c", SERVER.format(rounds=3))

        figures = await listen(play, ROW, Meter(server=lambda: [server.pid]))

    assert len(figures.seconds) == 2
    assert min(figures.seconds) > 0


async def test_a_contestant_that_made_other_rounds_than_it_should_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ContestantFailed, match="3 rounds were to be made, 1 were"):
        async with stage(tmp_path, limit_s=PATIENCE_S) as play:
            server = await play.start("the server", sys.executable, "-c", SERVER.format(rounds=1))
            await listen(play, ROW, Meter(server=lambda: [server.pid]))


async def test_a_process_that_ends_early_is_named_with_what_it_printed_last(tmp_path: Path) -> None:
    with pytest.raises(ContestantFailed, match=r"(?s)client 3 ended with code 1.*out of luck"):
        async with stage(tmp_path, limit_s=PATIENCE_S) as play:
            await play.start("client 3", sys.executable, "-c", "raise SystemExit('out of luck')")
            await play.next("done")


async def test_a_contestant_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(ContestantFailed, match=r"it took more than 0\.1 s"):
        async with stage(tmp_path, limit_s=0.1) as play:
            await play.start("the server", sys.executable, "-c", "import time; time.sleep(600)")
            await play.next("done")


async def test_nothing_is_left_of_a_contestant_also_not_what_left_its_group(tmp_path: Path) -> None:
    async with stage(tmp_path, limit_s=PATIENCE_S) as play:
        parent = await play.start("the parent", sys.executable, "-c", PARENT)
        await play.until_printed(parent, "")
        pids = family([parent.pid])

    assert len(pids) == 2
    async with asyncio.timeout(PATIENCE_S):
        while any(map(alive, pids)):  # a killed process takes a moment to go
            await asyncio.sleep(0.01)


async def test_what_is_told_through_a_file_is_heard(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.touch()
    async with stage(tmp_path, limit_s=PATIENCE_S) as play:
        await play.hear(told)
        await play.start("the server", sys.executable, "-c", SERVER.format(rounds=3), BENCH_TELL=str(told))

        heard = [(await play.next("idle", "round", "done"))["what"] for _ in range(5)]

    assert heard == ["idle", "round", "round", "round", "done"]
