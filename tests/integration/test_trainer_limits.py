"""Trainers that crash, hang and eat: the leader is told in words, nothing is left of them, and the site goes on."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from fl.client.config import LimitsConfig
from fl.client.limits import check_measurable, resident_bytes, until_above
from fl.client.setup import describe, new_setup, new_site
from fl.client.site import Site
from fl.client.state import NoState
from fl.client.trainer import ProcessTrainer, TrainerDied
from fl.errors import ConfigError
from fl.run.events import Kind, RoundCommitted, Status
from fl.wire.messages_pb2 import TrainRequest
from fl.wire.trainer_pb2 import TrainerCall
from tests.integration.parties import Parties
from tests.integration.processes import alive
from tests.integration.site_files import config_of, data_in
from tests.integration.world import make_spec, of_kind, regression, run_here, sites_of, until

PROGRAM = "tests.integration.bad_trainer"


def processes() -> list[int]:
    """Children of this process, and theirs, that are trainers or were started by one."""
    return [child.pid for child in psutil.Process().children(recursive=True) if "bad_trainer" in " ".join(_line(child))]


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where trainers look for a fault; none of them is left when a test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield tmp_path
    assert not processes()


async def bad_site(folder: Path, limits: LimitsConfig, name: str = "ant") -> Site:
    config = config_of(folder, name)
    setup = new_setup(name, describe(config.train), None, device=config.device, share_metrics=True)
    return await new_site(setup, start=partial(ProcessTrainer.start, limits, PROGRAM), state=NoState())


WORDS = {
    "touch_null": "the trainer's process was ended by SIGSEGV",
    "leave": "the trainer's process ended with exit code 3; its own output says why",
    "be_killed": "the trainer's process was ended by SIGKILL (out of memory?)",
    "eat": "MiB of memory; the memory_mb of this site's [limits] is 700",
    "let_a_child_eat": "MiB of memory; the memory_mb of this site's [limits] is 700",
    "babble": "it wrote what is no answer to where its answers go",
}


@pytest.mark.parametrize("fault", WORDS)
async def test_a_trainer_that_fails_costs_its_site_one_round_and_is_told_in_words(
    memory_url: str, place: Path, fault: str
) -> None:
    # Given a site whose trainer fails in the first round, and another one
    (bee,) = await sites_of({"bee": regression(1)})
    ant = await bad_site(place, LimitsConfig(memory_mb=700))
    (place / "fault").write_text(fault)

    # When both take part in a run
    async with Parties(memory_url) as parties:
        submission = await parties.submit(make_spec(rounds=2, clients=2))
        parties.worker()
        for site in (ant, bee):
            parties.daemon(replace(site, leave_after=1))
        await parties.until_record(submission, lambda record: isinstance(record, RoundCommitted))
        outcome = await parties.outcome(submission)
        commits = [one for one in of_kind(await parties.records(submission), RoundCommitted) if one.kind is Kind.TRAIN]

    # Then the first round has the other's update only, and says why; the second has both
    assert outcome.status is Status.FINISHED
    assert [[part.client for part in commit.participants] for commit in commits] == [["bee"], ["ant", "bee"]]
    ((client, reason),) = [(note.client, note.reason) for note in commits[0].dropped]
    assert client == "ant"
    assert WORDS[fault] in reason


@asynccontextmanager
async def trainer_of(limits: LimitsConfig) -> AsyncIterator[ProcessTrainer]:
    trainer = await ProcessTrainer.start(limits, PROGRAM)
    try:
        yield trainer
    finally:
        await trainer.close()


TRAIN = TrainerCall(run="trial", train=TrainRequest(round=1))


@pytest.mark.parametrize("fault", ["hang", "hang_with_the_interpreter"])
async def test_a_trainer_that_hangs_is_ended_when_its_time_is_over(place: Path, fault: str) -> None:
    (place / "fault").write_text(fault)

    async with trainer_of(LimitsConfig(round_s=3.0)) as trainer:
        with pytest.raises(TrainerDied, match=r"longer than 3 s, the round_s of this site's \[limits\]"):
            await trainer.ask(TRAIN)


@pytest.mark.parametrize("fault", ["hang", "hang_with_the_interpreter", "let_a_child_eat"])
async def test_what_a_trainer_is_doing_ends_with_it_and_so_does_what_it_has_started(place: Path, fault: str) -> None:
    # Given a trainer in the middle of a call
    (place / "fault").write_text(fault)
    async with trainer_of(LimitsConfig()) as trainer:
        asking = asyncio.create_task(trainer.ask(TRAIN))
        await until(lambda: not (place / "fault").exists())
        # When it is closed
        await trainer.close()
        # Then the call fails, and no process is left: the fixture looks
        with pytest.raises(TrainerDied):
            await asking


async def test_a_trainer_that_would_not_end_is_ended_even_if_nobody_waits_for_it_any_longer(place: Path) -> None:
    # Given a trainer that hangs, and somebody who waits for it to end
    (place / "fault").write_text("hang_with_the_interpreter")
    async with trainer_of(LimitsConfig()) as trainer:
        asking = asyncio.create_task(trainer.ask(TRAIN))
        await until(lambda: not (place / "fault").exists())
        closing = asyncio.create_task(trainer.close())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(closing), 0.1)

        # When that one is told to stop waiting
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

        # Then the process is over by then
        assert not alive(trainer._process.pid)
        with pytest.raises(TrainerDied):
            await asking


async def test_of_several_runs_the_one_whose_trainer_crashes_disturbs_no_other(memory_url: str, place: Path) -> None:
    # Given what each of three runs comes to alone
    specs = [make_spec(rounds=3, clients=2, seed=seed) for seed in (1, 2, 3)]
    datasets = {"ant": data_in(place, "ant"), "bee": regression(1)}
    alone = [(await run_here(memory_url, spec, datasets))[0] for spec in specs]

    # When a site serves them at once, and one of its trainers crashes
    async with Parties(memory_url) as parties:
        submissions = [await parties.submit(spec) for spec in specs]
        parties.worker()
        (bee,) = await sites_of({"bee": datasets["bee"]})
        for site in (await bad_site(place, LimitsConfig()), bee):
            parties.daemon(replace(site, leave_after=3))
        (place / "fault").write_text("touch_null")
        outcomes = [await parties.outcome(submission) for submission in submissions]
        dropped = [
            [note.client for commit in of_kind(await parties.records(one), RoundCommitted) for note in commit.dropped]
            for one in submissions
        ]

    # Then that one alone has lost a round of this site, and the others come to the same bits
    assert sorted(dropped) == [[], [], ["ant"]]
    for there, here, lost in zip(outcomes, alone, dropped, strict=True):
        assert there.status is Status.FINISHED
        assert (there.weights == here.weights) is not bool(lost)


def test_a_limit_of_memory_that_cannot_be_held_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[limits\] memory_mb: this system has no .* leave it out"):
        check_measurable(tmp_path)


async def test_the_memory_of_children_counts() -> None:
    # Given a process with a child that holds 64 MiB
    hold = "held = b'x' * (64 << 20); print('held', flush=True); input()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", nested, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    # When both are measured together
    used = resident_bytes(process.pid)
    # Then it is there, and so is what the system says of the two
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    assert len(family) == 2
    assert used >= 64 << 20
    assert used == pytest.approx(sum(one.memory_info().rss for one in family), rel=0.1)
    assert await until_above(process.pid, 64) >= 64
    process.stdin.close()  # type: ignore[union-attr]  # started with a pipe
    await process.wait()
    assert resident_bytes(process.pid) == 0
    assert resident_bytes(os.getpid()) > 0
