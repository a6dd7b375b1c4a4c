"""What survives a daemon, and what it takes from it."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker import topology
from fl.client.daemon import serve
from fl.client.disk import NoRoom
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


def cut_short(seed: Path) -> None:
    seed.write_bytes(seed.read_bytes()[:31])


def emptied(seed: Path) -> None:
    seed.write_bytes(b"")


def one_bit_flipped(seed: Path) -> None:
    content = bytearray(seed.read_bytes())
    content[7] ^= 1
    seed.write_bytes(content)


def lost_after_training(seed: Path) -> None:
    (seed.parent / "after-000001.safetensors").touch()
    seed.unlink()


@pytest.mark.parametrize("harm", [cut_short, emptied, one_bit_flipped, lost_after_training])
def test_a_seed_that_is_not_what_was_written_keeps_the_site_out_of_the_run(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    StateDirectory(tmp_path).secret_seed("trial")
    (seed,) = tmp_path.rglob("seed")
    harm(seed)

    with pytest.raises(ConfigError, match=rf"^{seed}: .* this site takes no part in the run until it is back"):
        StateDirectory(tmp_path).secret_seed("trial")


def test_a_state_directory_where_nothing_can_be_written_is_refused_by_its_name() -> None:
    # /proc takes no new files from anybody, the superuser included
    with pytest.raises(ConfigError, match=r"state directory /proc/self: .* set `state` to one that can be written"):
        StateDirectory(Path("/proc/self"))


@pytest.fixture
def small_disk() -> Iterator[None]:
    """This process may write no file beyond 4 KiB, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_what_lacked_room_is_looked_for_until_it_is_there(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.check_room()
    state.lack(1_000_000)

    with pytest.raises(NoRoom, match=rf"^{tmp_path} cannot be written: File too large; make room there"):
        state.check_room()
    state.lack(1_000)
    state.check_room()

    assert not list(tmp_path.iterdir())


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
            await serve(replace(site, leave_after=1), await parties.open("ant"))

    assert not site.state.knows("trial")
