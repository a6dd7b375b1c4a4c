"""What survives a daemon, and what it takes from it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker import topology
from fl.client.daemon import Daemon
from fl.client.state import StateDirectory
from fl.errors import ConfigError
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import StopRequest
from tests.integration.parties import Parties
from tests.integration.world import regression, sites_of


def test_the_seed_of_a_run_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path).secret_seed("trial")

    assert StateDirectory(tmp_path).secret_seed("trial") == first
    assert StateDirectory(tmp_path).secret_seed("other") != first


def test_the_seed_is_for_no_other_eyes(tmp_path: Path) -> None:
    StateDirectory(tmp_path / "state").secret_seed("trial")

    (seed,) = tmp_path.rglob("seed")
    assert seed.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_run_that_is_over_leaves_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.secret_seed("trial")

    state.forget("trial")

    assert not state.knows("trial")
    assert not list(tmp_path.rglob("seed"))


def test_a_seed_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    StateDirectory(tmp_path).secret_seed("trial")
    (seed,) = tmp_path.rglob("seed")
    seed.write_bytes(b"short")

    with pytest.raises(ConfigError, match="holds 5 bytes, not a seed of 32"):
        StateDirectory(tmp_path).secret_seed("trial")


def test_a_directory_that_cannot_be_written_any_more_is_an_error_in_words(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    (tmp_path / "runs").write_text("in the way")

    with pytest.raises(ConfigError, match="this site cannot take part"):
        state.secret_seed("trial")


async def test_a_daemon_that_lost_its_connection_still_counts_the_end_of_its_run() -> None:
    # Given: a site that took part, was cut off, and finds the farewell when it comes back
    (site,) = await sites_of({"ant": regression(0)})
    site.state.secret_seed("trial")
    async with Parties("memory://farewell") as parties:
        await parties.owner.declare(*topology.client("ant"))
        farewell = seal(wrap("trial", "leader", StopRequest(status="finished"), now=0.0))
        await parties.owner.publish(farewell, exchange=topology.DOWN.name, routing_key="trial.ant.stop_request")

        async with asyncio.timeout(20.0):
            await Daemon(replace(site, leave_after=1), await parties.open("ant")).serve()

    assert not site.state.knows("trial")
