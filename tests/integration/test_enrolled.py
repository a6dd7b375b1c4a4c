"""Users who may do what a daemon needs, or an observer, and nothing else."""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from broker import access, topology
from broker.base import Binding, Stream
from broker.connect import open_session
from broker.errors import AccessRefused
from broker.local import LocalRabbit
from broker.topology import Cargo, Room
from fl.cli.main import app
from fl.client.daemon import serve
from fl.run.events import Status
from fl.run.spec import RunSpec
from tests.integration.parties import Parties
from tests.integration.test_bad_input import START
from tests.integration.world import Puppet, make_spec, regression, sites_of

pytestmark = pytest.mark.rabbitmq

SCAFFOLD: Final = {
    "client_opt": {"lrate": 1e-7, "modules": ["scaffold-client"]},
    "server_opt": {"lrate": 1.0, "modules": ["scaffold-server"]},
}


def of_bulk(**run: Any) -> RunSpec:
    """A run of which all kinds of streams have something, where the model is large."""
    spec = make_spec(rounds=3, clients=1, evaluate=False, compression="bf16", **run)
    return RunSpec.parse({**spec.model_dump(by_alias=True), "optim": SCAFFOLD}, "test")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A user, and where it connects."""

    name: str
    url: str


@pytest.fixture(scope="module")
def rabbit_url(rabbit: LocalRabbit, vhosts: Iterator[str]) -> str:
    """One virtual host for this file: to make users takes longer than most tests."""
    return f"{rabbit.url}{next(vhosts)}"


@pytest.fixture(scope="module")
def enrolled(rabbit: LocalRabbit, rabbit_url: str) -> Iterator[Enrolled]:
    name = f"site-{secrets.token_hex(4)}"
    with user(rabbit, rabbit_url, name, access.of_client(name)) as made:
        yield made


@pytest.fixture(scope="module")
def observer(rabbit: LocalRabbit, rabbit_url: str) -> Iterator[Enrolled]:
    with user(rabbit, rabbit_url, f"observer-{secrets.token_hex(4)}", access.of_observer()) as made:
        yield made


@contextmanager
def user(rabbit: LocalRabbit, rabbit_url: str, name: str, may: access.Permissions) -> Iterator[Enrolled]:
    vhost = urlsplit(rabbit_url).path.strip("/")
    rabbit.add_user(name, "secret", may, vhost=vhost)
    yield Enrolled(name, rabbit.url_of(name, "secret") + vhost)
    rabbit.ctl("delete_user", name)


async def test_a_site_that_may_declare_nothing_takes_part(rabbit_url: str, enrolled: Enrolled) -> None:
    (site,) = await sites_of({enrolled.name: regression(0)})
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(*topology.client(enrolled.name))
        parties.worker()
        session = await open_session(enrolled.url, name=enrolled.name)
        serving = asyncio.create_task(serve(site, session))

        outcome = await parties.outcome(await parties.submit(make_spec(rounds=1, clients=1)))

        serving.cancel()
        await asyncio.wait({serving})
        await session.close()
    assert outcome.status is Status.FINISHED


async def test_a_site_that_may_declare_nothing_reads_all_that_it_trains_from(
    rabbit_url: str, enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given what goes through streams: exact weights first, compressed ones then, and what the server's optimizer tells
    monkeypatch.setattr("fl.server.mail.AHEAD_BYTES", 0)
    caplog.set_level(logging.DEBUG)
    (site,) = await sites_of({enrolled.name: regression(0, n_features=150_000)})
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(*topology.client(enrolled.name))
        parties.worker()
        session = await open_session(enrolled.url, name=enrolled.name)
        serving = asyncio.create_task(serve(site, session))

        # When
        spec = of_bulk(training={"batch_size": 8, "n_steps": 1})
        outcome = await parties.outcome(await parties.submit(spec))

        serving.cancel()
        await asyncio.wait({serving})
        await session.close()
    # Then
    assert outcome.status is Status.FINISHED, outcome.reason
    assert caplog.text.count("weights_read_ahead") == 2


async def test_a_site_without_a_queue_is_told_to_be_enrolled(rabbit_url: str, enrolled: Enrolled) -> None:
    (site,) = await sites_of({enrolled.name: regression(0)})
    async with Parties(rabbit_url) as parties:
        await parties.owner.delete(topology.client_queue(enrolled.name))
        session = await open_session(enrolled.url, name=enrolled.name)

        with pytest.raises(AccessRefused, match=rf"no queue for client '{enrolled.name}': has it been enrolled\?"):
            await serve(site, session)

        await session.close()


async def test_neither_a_site_nor_an_observer_reads_the_secret_of_a_run(
    rabbit_url: str, enrolled: Enrolled, observer: Enrolled
) -> None:
    secret = topology.secret_stream("another")
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(Stream(secret))

        for user in (enrolled, observer):
            session = await open_session(user.url, name=user.name)
            with pytest.raises(AccessRefused, match=secret):
                await session.read(secret)
            await session.close()


async def test_a_site_reads_nothing_that_tells_of_others(rabbit_url: str, enrolled: Enrolled) -> None:
    # Given
    updates = [Room("run", 1, "another", "leader", cargo).stream for cargo in get_args(Cargo)]
    sums = [topology.sum_stream("run", 1, 0, "leader"), topology.aux_sum_stream("run", 1, 0, "leader")]
    streams = [topology.run_log("run"), topology.state_stream("run", 1, "leader"), *updates, *sums]
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(*map(Stream, streams))
        session = await open_session(enrolled.url, name=enrolled.name)
        # When, then
        for stream in streams:
            with pytest.raises(AccessRefused, match=stream):
                await session.read(stream)
        await session.close()


async def test_a_site_may_not_bind_itself_to_what_others_send(rabbit_url: str, enrolled: Enrolled) -> None:
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(*topology.client(enrolled.name))
        session = await open_session(enrolled.url, name=enrolled.name)

        with pytest.raises(AccessRefused):
            await session.declare(Binding(topology.client_queue(enrolled.name), topology.UP.name, "#"))

        await session.close()


async def test_an_observer_lists_watches_and_fetches_runs(rabbit_url: str, observer: Enrolled, tmp_path: Path) -> None:
    # Given
    async with Parties(rabbit_url) as parties:
        submission = await parties.submit(make_spec(rounds=1, clients=1), START)
        parties.worker()
        parties.puppet(Puppet("ant"), submission.run)
        await parties.outcome(submission)
    # When
    environment = {"FLUFFLE_BROKER": observer.url, "COLUMNS": "300"}
    said = [
        await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        for arguments in (("runs", "--all"), ("watch", submission.run), ("fetch", submission.run, str(tmp_path)))
    ]
    # Then
    assert [one.exit_code for one in said] == [0, 0, 0], "\n".join(one.output for one in said)
    assert (tmp_path / "history.csv").exists()
