"""Daemons whose user may do what a client needs, and nothing else."""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from broker import topology
from broker.connect import open_session
from broker.errors import AccessRefused
from broker.local import LocalRabbit
from fl.client.daemon import serve
from fl.run.events import Status
from tests.integration.parties import Parties
from tests.integration.world import make_spec, regression, sites_of

pytestmark = pytest.mark.rabbitmq


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A site's user, and where it connects."""

    name: str
    url: str


@pytest.fixture
def enrolled(rabbit: LocalRabbit, rabbit_url: str) -> Iterator[Enrolled]:
    """Reads its queue and the streams of runs, and publishes under its own name through `fl.up`."""
    name, vhost = f"site-{secrets.token_hex(4)}", urlsplit(rabbit_url).path.strip("/")
    rabbit.ctl("add_user", name, "secret")
    readable = rf"^fl\.(client\.{name}|runs|run\..*)$"
    rabbit.ctl("set_permissions", "-p", vhost, name, "^$", r"^fl\.up$", readable)
    rabbit.ctl("set_topic_permissions", "-p", vhost, name, topology.UP.name, r"^[^.]+\.{username}\..*", "^$")
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


async def test_a_site_that_may_declare_nothing_reads_weights_ahead(
    rabbit_url: str, enrolled: Enrolled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given weights that go through streams
    monkeypatch.setattr("fl.server.mail.AHEAD_BYTES", 0)
    caplog.set_level(logging.DEBUG)
    (site,) = await sites_of({enrolled.name: regression(0, n_features=50_000)})
    async with Parties(rabbit_url) as parties:
        await parties.owner.declare(*topology.client(enrolled.name))
        parties.worker()
        session = await open_session(enrolled.url, name=enrolled.name)
        serving = asyncio.create_task(serve(site, session))

        # When
        spec = make_spec(rounds=3, clients=1, evaluate=False, training={"batch_size": 8, "n_steps": 1})
        outcome = await parties.outcome(await parties.submit(spec))

        serving.cancel()
        await asyncio.wait({serving})
        await session.close()
    # Then
    assert outcome.status is Status.FINISHED, outcome.reason
    assert caplog.text.count("weights_read_ahead") == 2


async def test_a_site_without_a_queue_is_told_to_be_enrolled(rabbit_url: str, enrolled: Enrolled) -> None:
    (site,) = await sites_of({enrolled.name: regression(0)})
    async with Parties(rabbit_url):
        session = await open_session(enrolled.url, name=enrolled.name)

        with pytest.raises(AccessRefused, match=rf"no queue for client '{enrolled.name}': has it been enrolled\?"):
            await serve(site, session)

        await session.close()
