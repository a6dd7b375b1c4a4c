"""Daemons told to end by SIGTERM: what is in work is finished, or handed back, and nothing else is begun."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from broker import topology
from fl.run.events import RoundCommitted, RoundOpened, Status
from fl.run.spec import RunSpec
from tests.integration.parties import Parties
from tests.integration.processes import PATIENCE_S, alive, fluffle
from tests.integration.test_daemons import site_folder, training
from tests.integration.world import make_spec, of_kind, until

pytestmark = pytest.mark.rabbitmq


def long_run(seconds: float) -> RunSpec:
    """One round, which trains for so long."""
    effort = {"batch_size": 8, "n_epoch": None, "timeout": seconds}
    return make_spec(rounds=1, clients=1, evaluate=False, training=effort)


def draining(folder: Path, at_most_s: float) -> Path:
    file = site_folder(folder)
    file.write_text(f"{file.read_text()}\n[limits]\ndrain_s = {at_most_s}\n")
    return file


async def until_handed_back(parties: Parties) -> None:
    """Wait until one request is in the queue, and lent to nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while (await parties.owner.count(topology.client_queue("ant"))).messages != 1:
            await asyncio.sleep(0.02)


async def test_the_request_in_work_is_finished_and_counts_and_no_other_run_is_joined(
    rabbit_url: str, tmp_path: Path
) -> None:
    async with Parties(rabbit_url) as parties:
        parties.worker()
        with fluffle("client", site_folder(tmp_path), broker=rabbit_url, folder=tmp_path, name="ant") as ant:
            # Given a daemon that trains
            await ant.until_logged(" ready ")
            submission = await parties.submit(long_run(3.0))
            await ant.until_logged(" in_work ")
            trainer = await training(ant)

            # When it is told to end, and another run is submitted
            os.kill(ant.pid, signal.SIGTERM)
            await ant.until_logged(" draining client=ant requests=1 at_most_s=20")
            late = await parties.submit(long_run(0.1))
            code = await ant.end()
            outcome = await parties.outcome(submission)
            (commit,) = of_kind(await parties.records(submission), RoundCommitted)

        # Then its update counts, nothing is left, and the other run was not asked for
        assert code == 0
        assert outcome.status is Status.FINISHED
        assert [part.client for part in commit.participants] == ["ant"]
        assert not alive(trainer)
        assert f"asked_to_join client=ant run={late.run}" not in ant.log
        assert " ended client=ant by=SIGTERM" in ant.log


@pytest.mark.parametrize(("at_most_s", "signals"), [(0.5, 1), (3600.0, 2)], ids=["too late", "a second signal"])
async def test_what_is_not_finished_in_time_or_before_a_second_signal_is_handed_back(
    rabbit_url: str, tmp_path: Path, at_most_s: float, signals: int
) -> None:
    async with Parties(rabbit_url) as parties:
        parties.worker()
        with fluffle("client", draining(tmp_path, at_most_s), broker=rabbit_url, folder=tmp_path, name="ant") as ant:
            # Given a daemon that trains for an hour
            await ant.until_logged(" ready ")
            submission = await parties.submit(long_run(3600.0))
            await parties.until_record(submission, lambda record: isinstance(record, RoundOpened))
            trainer = await training(ant)

            # When it is told to end
            os.kill(ant.pid, signal.SIGTERM)
            await ant.until_logged(" draining ")
            if signals == 2:
                os.kill(ant.pid, signal.SIGTERM)
            code = await ant.end()

        # Then it ends well, and the request waits for the next daemon of its name
        assert code == 0
        assert not alive(trainer)
        await until_handed_back(parties)


async def test_a_daemon_that_stands_by_ends_at_once(rabbit_url: str, tmp_path: Path) -> None:
    file = draining(tmp_path, 3600.0)
    with (
        fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="first") as first,
        fluffle("client", file, broker=rabbit_url, folder=tmp_path, name="second") as second,
    ):
        await until(lambda: " standing_by " in first.log + second.log)
        waiting = second if " standing_by " in second.log else first

        assert await waiting.signal(signal.SIGTERM) == 0

        assert " draining " not in waiting.log
