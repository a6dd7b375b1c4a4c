"""Daemons as processes: killed, doubled, restarted and badly configured."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from broker import topology
from fl.run.events import Kind, RoundCommitted, RoundOpened, Status
from fl.run.spec import RunSpec
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import RunClosed, RunSubmitted
from tests.integration.parties import Parties
from tests.integration.processes import FRAMEWORKS, Fluffle, alive, fluffle, run_fluffle
from tests.integration.site_files import data_in, file_of
from tests.integration.world import Puppet, garbage, make_spec, of_kind, regression, run_here, samples, sites_of, until

LONG: RunSpec = make_spec(rounds=2, clients=1, training={"batch_size": 8, "n_epoch": None, "timeout": 2.0})
"""Each round trains for two seconds."""


def site_folder(folder: Path, *, name: str = "ant", header: str = "", **options: object) -> Path:
    """A TOML file, and the CSV file beside it; returns the path of the first."""
    x, y = samples(0, 40)
    columns = header or ",".join([*(f"f{place}" for place in range(x.shape[1])), "target"])
    np.savetxt(folder / f"{name}.csv", np.column_stack([x, y]), delimiter=",", header=columns, comments="")
    lines = [f'name = "{name}"', f'state = "state-{name}"', 'checkpoint = "kept"']
    lines += [f"{key} = {str(value).lower()}" for key, value in options.items()]
    path = folder / f"{name}.toml"
    path.write_text("\n".join([*lines, "[train]", f'path = "{name}.csv"', 'target = "target"', ""]))
    return path


async def training(process: Fluffle) -> int:
    """Wait until a daemon trains; the id of its trainer."""
    async with asyncio.timeout(30.0):
        while not process.children():
            await asyncio.sleep(0.02)
    (pid,) = process.children()
    return pid


# ---- in the middle of a training -------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
async def test_a_trainer_that_is_killed_costs_one_round_and_the_daemon_goes_on(rabbit_url: str, tmp_path: Path) -> None:
    bee = Puppet("bee")
    bee.withhold(1)
    file = site_folder(tmp_path)
    with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="ant") as ant:
        async with Parties(rabbit_url) as parties:
            submission = await parties.submit(make_spec(rounds=2, clients=2, training=LONG.run.training.model_dump()))
            parties.worker()
            parties.puppet(bee, submission.run)
            await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))

            trainer = await training(ant)
            os.kill(trainer, signal.SIGKILL)
            await ant.until_logged("request_failed")
            bee.let_go(1)
            outcome = await parties.outcome(submission)
            records = await parties.records(submission)
            await ant.until_logged("weights_kept")

        commits = [one for one in of_kind(records, RoundCommitted) if one.kind is Kind.TRAIN]
        assert outcome.status is Status.FINISHED
        assert [len(one.participants) for one in commits] == [1, 2]
        assert [(note.client, note.reason) for note in commits[0].dropped] == [
            ("ant", "the trainer's process was ended by SIGKILL (out of memory?)")
        ]
        assert list((tmp_path / "kept" / submission.run).glob("*.safetensors"))
        assert await ant.signal(signal.SIGTERM) == 0
        assert not ant.imported & set(FRAMEWORKS)


@pytest.mark.rabbitmq
async def test_a_daemon_that_is_ended_in_a_training_leaves_no_trainer_and_its_standby_goes_on(
    rabbit_url: str, tmp_path: Path
) -> None:
    file = site_folder(tmp_path)
    with (
        fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="first") as first,
    ):
        await first.until_logged(" ready ")
        with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="second") as second:
            await second.until_logged(" standing_by ")
            async with Parties(rabbit_url) as parties:
                submission = await parties.submit(LONG)
                parties.worker()
                await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))
                trainer = await training(first)
                assert " taking_over " not in second.log

                code = await first.signal(signal.SIGTERM)

                assert code == 0
                assert not alive(trainer)
                outcome = await parties.outcome(submission)
                records = await parties.records(submission)
                await second.until_logged(" taking_over ")
                after = await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1)))

            assert outcome.status is Status.FINISHED
            assert [len(one.participants) for one in of_kind(records, RoundCommitted)] == [1] * 4
            assert after.status is Status.FINISHED


@pytest.mark.rabbitmq
async def test_a_daemon_that_is_killed_in_a_training_leaves_no_trainer_and_its_standby_changes_no_bit(
    rabbit_url: str, memory_url: str, tmp_path: Path
) -> None:
    # Given what an undisturbed run comes to, whose optimizer keeps state, and two daemons of one name
    plain = make_spec(rounds=3, clients=1, evaluate=False, training={"batch_size": 8, "n_epoch": 2_000})
    optim = {"client_opt": {"lrate": 1e-4, "modules": ["momentum"]}}
    spec = RunSpec.parse({**plain.model_dump(by_alias=True), "optim": optim}, "test")
    undisturbed, _ = await run_here(memory_url, spec, {"ant": data_in(tmp_path, "ant")})
    file = file_of(tmp_path, "ant")
    with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="serving") as serving:
        await serving.until_logged(" ready ")
        with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="standby") as standby:
            await standby.until_logged(" standing_by ")
            async with Parties(rabbit_url) as parties:
                submission = await parties.submit(spec)
                parties.worker()
                # When the one that serves is killed as it trains in the second round
                await parties.until_record(submission, lambda one: isinstance(one, RoundOpened) and one.round == 2)
                trainer = await training(serving)
                os.kill(serving.pid, signal.SIGKILL)
                await until(lambda: not alive(trainer))
                outcome = await parties.outcome(submission)
                records = await parties.records(submission)
                await standby.until_logged(" weights_kept ")

    # Then each round was committed once, by one or the other, and no bit is different
    assert outcome.status is Status.FINISHED
    assert [one.round for one in of_kind(records, RoundCommitted)] == [1, 2, 3]
    assert outcome.weights == undisturbed.weights


# ---- idle ------------------------------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
async def test_an_idle_daemon_has_imported_nothing_that_only_runs_need(rabbit_url: str, tmp_path: Path) -> None:
    # Given a broker that has had a run
    async with Parties(rabbit_url) as parties:
        past = RunSubmitted(spec_json=make_spec().to_json()), RunClosed(status="finished")
        for message in (*(seal(wrap("past", "owner", body, now=0.0)) for body in past), garbage()):
            await parties.owner.publish(message, routing_key=topology.RUNS.name)

    # When a daemon has read so
    with fluffle("client", site_folder(tmp_path), broker=rabbit_url, folder=tmp_path, name="ant") as ant:
        await ant.until_logged(" ready ")
        await ant.until_logged(" announcement_ignored ")
        assert await ant.signal(signal.SIGTERM) == 0

    # Then
    assert "fl" in ant.imported
    # measured by `make bench`: numpy alone is a quarter of what such a daemon would have in memory
    assert not ant.imported & {*FRAMEWORKS, "numpy", "safetensors", "rich", "pika", "matplotlib"}


# ---- two of one name -------------------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
async def test_a_daemon_that_is_not_to_stand_by_refuses_a_name_in_use(rabbit_url: str, tmp_path: Path) -> None:
    file = site_folder(tmp_path, standby=False)
    with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="first") as first:
        await first.until_logged(" ready ")
        with fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="second") as second:
            assert await second.end() == 1

    (line,) = [line for line in second.log.splitlines() if line.startswith("error: ")]
    assert "a daemon named 'ant' is connected already" in line
    assert "standby = true" in line
    assert "Traceback" not in second.log


async def test_a_run_beyond_the_maximum_is_joined_as_another_ends(memory_url: str) -> None:
    bees = [Puppet("bee"), Puppet("cat"), Puppet("dog")]
    async with Parties(memory_url) as parties:
        runs = [await parties.submit(make_spec(rounds=1, clients=2)) for _ in bees]
        parties.worker()
        (site,) = await sites_of({"ant": regression(0)})
        parties.daemon(replace(site, max_runs=1))
        parties.puppet(bees[0], runs[0].run)
        parties.puppet(bees[2], runs[2].run)
        await parties.until_record(runs[0], lambda record: isinstance(record, RoundOpened))
        # The one that waits is gone without a word, as when an operator deletes its queue.
        await parties.owner.delete(topology.run_queue(runs[1].run))

        outcomes = [await parties.outcome(run) for run in (runs[0], runs[2])]

    assert [outcome.status for outcome in outcomes] == [Status.FINISHED] * 2


# ---- before it connects ----------------------------------------------------------------------------------------------


def no_data(folder: Path) -> str:
    (folder / "ant.csv").unlink()
    return "no such file"


def not_a_number(folder: Path) -> str:
    lines = (folder / "ant.csv").read_text().splitlines()
    lines[3] = "nan" + lines[3][lines[3].index(",") :]
    (folder / "ant.csv").write_text("\n".join(lines))
    return "'f0'"


def other_column(folder: Path) -> str:
    text = (folder / "ant.csv").read_text()
    (folder / "ant.csv").write_text(text.replace("target", "targets"))
    return "did you mean 'targets'?"


def empty(folder: Path) -> str:
    (folder / "ant.csv").write_text("")
    return "ant.csv"


def binary(folder: Path) -> str:
    (folder / "ant.csv").write_bytes(bytes(range(256)) * 8)
    return "ant.csv"


def state_is_a_file(folder: Path) -> str:
    (folder / "state-ant").write_text("not a directory")
    return "set `state` to one that can be written"


def unknown_key(folder: Path) -> str:
    file = folder / "ant.toml"
    file.write_text(file.read_text() + 'targt = "x"\n')
    return "did you mean 'target'?"


def no_table(folder: Path) -> str:
    (folder / "ant.toml").write_text('name = "ant"\n')
    return "train"


def bad_name(folder: Path) -> str:
    file = folder / "ant.toml"
    file.write_text(file.read_text().replace('name = "ant"', 'name = "a.nt"'))
    return "letters, digits"


MISTAKES = [
    no_data, not_a_number, other_column, empty, binary, state_is_a_file, unknown_key, no_table, bad_name,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_daemon_that_cannot_work_says_why_in_one_line_before_it_connects(
    tmp_path: Path, mistake: Callable[[Path], str]
) -> None:
    file = site_folder(tmp_path)
    expected = mistake(tmp_path)

    done = run_fluffle("client", file, folder=tmp_path, FLUFFLE_BROKER="amqp://guest:guest@127.0.0.1:1/")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line
