"""A private cluster: what is declared there survives any one node, and a stopped one leaves nothing."""

import asyncio
from collections.abc import Iterator

import pytest

from broker.base import Queue, Stream
from broker.blocking import BlockingBroker
from broker.cluster import LocalCluster
from broker.connect import open_session
from tests.contract.backends import PATIENCE_S
from tests.contract.test_local_node import home_of, listens, processes_of

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Started once; the last test stops it."""
    cluster = LocalCluster()
    yield cluster.start()
    cluster.stop()


def test_a_queue_and_a_stream_have_a_replica_on_each_node(cluster: LocalCluster, name: str) -> None:
    with BlockingBroker(cluster.url) as broker:
        broker.declare(Queue(f"{name}-queue"), Stream(f"{name}-stream"))

    listed = cluster.nodes[0].ctl("list_queues", "--no-table-headers", "name", "members")

    counted = {line.split()[0]: line.count("@") for line in listed.splitlines()}
    assert (counted[f"{name}-queue"], counted[f"{name}-stream"]) == (3, 3)


async def test_a_node_that_is_cut_off_serves_nobody_until_it_is_healed(cluster: LocalCluster) -> None:
    # Given
    node = cluster.nodes[2]
    session = await open_session(node.url, name="contract")

    # When
    await asyncio.to_thread(cluster.partition, node)
    async with asyncio.timeout(PATIENCE_S):
        await session.wait_lost()
        while listens(node.url):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(cluster.heal, node)

        # Then
        while not listens(node.url):
            await asyncio.sleep(0.01)
    await session.close()


def test_a_stopped_cluster_leaves_no_file_port_or_process(cluster: LocalCluster) -> None:
    # Given
    homes = [home_of(node) for node in cluster.nodes]

    # When
    cluster.stop()

    # Then
    left = [
        (home.exists(), listens(node.url), processes_of(home)) for node, home in zip(cluster.nodes, homes, strict=True)
    ]
    assert left == [(False, False, [])] * 3
