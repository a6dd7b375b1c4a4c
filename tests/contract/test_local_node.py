"""A private node: killed and started again it has its messages, and stopped it leaves nothing."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from broker.base import Message, Queue
from broker.blocking import BlockingBroker
from broker.connect import open_session
from broker.errors import Fatal
from broker.local import LocalRabbit
from tests.contract.backends import bodies

pytestmark = pytest.mark.rabbitmq

RUN_AND_DIE = """
import os
from broker.local import LocalRabbit
node = LocalRabbit().start()
print(node.url, node.ctl("eval", 'os:getenv("HOME").').strip(), sep="\\n", flush=True)
os._exit(1)
"""


@pytest.fixture(scope="module")
def node() -> Iterator[LocalRabbit]:
    """A node that tests may kill and stop; each starts it first if it does not run."""
    node = LocalRabbit()
    yield node
    node.stop()


def home_of(node: LocalRabbit) -> Path:
    return Path(node.ctl("eval", 'os:getenv("HOME").').strip().strip('"'))


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) == 0


def processes_of(home: Path) -> list[psutil.Process]:
    processes = psutil.process_iter(["environ"])
    return [process for process in processes if (process.info["environ"] or {}).get("HOME") == str(home)]


async def test_a_killed_node_comes_back_with_what_it_had_confirmed(node: LocalRabbit) -> None:
    # Given
    node.start()
    with BlockingBroker(node.url) as broker:
        broker.declare(Queue("durable"))
        broker.publish(Message(b"safe"), routing_key="durable")

    # When
    node.kill()
    node.restart()

    # Then
    session = await open_session(node.url, name="contract")
    found = await bodies(await session.consume("durable", prefetch=1), 1)
    await session.close()
    assert found == [b"safe"]


def test_a_stopped_node_leaves_no_file_port_or_process(node: LocalRabbit) -> None:
    # Given
    node.start()
    home = home_of(node)
    before = (home.exists(), listens(node.url), len(processes_of(home)) > 1)

    # When
    node.stop()

    # Then
    assert before == (True, True, True)
    assert (home.exists(), listens(node.url), processes_of(home)) == (False, False, [])


def test_a_node_ends_with_the_program_that_started_it_however_that_ends() -> None:
    # When
    done = subprocess.run([sys.executable, "-c", RUN_AND_DIE], capture_output=True, text=True, timeout=60, check=False)

    # Then
    url, home = done.stdout.replace('"', "").split()
    psutil.wait_procs(processes_of(Path(home)), timeout=20)
    shutil.rmtree(home)  # nobody is left to do it
    assert (listens(url), processes_of(Path(home))) == (False, [])


def test_a_node_that_cannot_start_says_why_and_leaves_nothing() -> None:
    node = LocalRabbit(extra_config={"no_such_setting": "1"})

    with pytest.raises(Fatal, match="no_such_setting"):
        node.start()

    assert not listens(node.url)


def test_without_rabbitmq_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.erlang._PLACES", ())
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(Fatal, match="apt-get install rabbitmq-server"):
        LocalRabbit()


def test_a_stopped_node_takes_no_commands() -> None:
    with pytest.raises(Fatal, match="start it first"):
        LocalRabbit().ctl("status")
