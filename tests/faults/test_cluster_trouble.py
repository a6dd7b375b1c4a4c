"""One of a broker's three nodes crashes or is cut off: no bit of a run changes, and nobody waits long."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from broker import topology
from broker.cluster import LocalCluster
from broker.local import LocalRabbit
from tests.faults.campaign import Told
from tests.faults.trouble import SIZES, Play, calm, committed, opened, play
from tests.rabbit_tools import virtual_hosts

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(600)]

LONGEST_PAUSE_S = 30.0


@pytest.fixture(scope="module")
def expected() -> dict[str, Told]:
    """What each run comes to on an undisturbed broker."""
    return {size: asyncio.run(calm(f"memory://{secrets.token_hex(4)}", size)) for size in SIZES}


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: LocalCluster) -> LocalCluster:
    """All nodes run, and see each other."""
    for node in running.nodes:
        node.start()
    running.nodes[0].ctl("await_online_nodes", str(len(running.nodes)))
    return running


@pytest.fixture(scope="module")
def hosts(running: LocalCluster) -> Iterator[str]:
    return virtual_hosts(running.nodes[0])


@pytest.fixture
def vhost(cluster: LocalCluster, hosts: Iterator[str]) -> str:
    """A virtual host of the cluster, all of whose nodes run, for one run."""
    return next(hosts)


async def leader_of(node: LocalRabbit, playing: Play, vhost: str) -> str:
    """The name of the node that leads the queue of a run."""
    listed = await asyncio.to_thread(node.ctl, "list_queues", "-p", vhost, "--no-table-headers", "name", "leader")
    return dict(line.split() for line in listed.splitlines())[topology.run_queue(playing.run.run)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(0, id="to which everybody is connected, and which leads all queues"),
        pytest.param(1, id="to which nobody is connected"),
    ],
)
async def test_a_node_that_is_killed_changes_no_bit(
    cluster: LocalCluster, vhost: str, expected: dict[str, Told], size: str, victim: int
) -> None:
    crowded, other = cluster.nodes[0], cluster.nodes[2]
    async with play(cluster.url + vhost, size, held=True, at_first=crowded.url + vhost) as playing:
        # Given
        await opened(playing)
        assert await leader_of(other, playing, vhost) == "fluffle-1@localhost"

        # When
        await asyncio.to_thread(cluster.nodes[victim].kill)
        playing.let_go()

        # Then
        played = await playing.end()
        assert played.told == expected[size]
        assert played.longest_pause_s < LONGEST_PAUSE_S


@pytest.mark.parametrize("size", SIZES)
async def test_a_node_that_is_cut_off_with_everybody_on_it_changes_no_bit(
    cluster: LocalCluster, vhost: str, expected: dict[str, Told], size: str
) -> None:
    crowded = cluster.nodes[0]
    async with play(cluster.url + vhost, size, held=True, at_first=crowded.url + vhost) as playing:
        # Given
        await opened(playing)

        # When
        await asyncio.to_thread(cluster.partition, crowded)
        try:
            playing.let_go()
            await committed(playing)
        finally:
            await asyncio.to_thread(cluster.heal, crowded)

        # Then
        played = await playing.end()
        assert played.told == expected[size]
        assert played.longest_pause_s < LONGEST_PAUSE_S
