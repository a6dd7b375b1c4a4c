"""The scripts that ship to be copied, on both brokers."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fl.communication import NetworkClientConfig, NetworkServerConfig
from fl.core.checkpoint import Checkpointer
from fl.examples.heart.folder import write_example
from fl.examples.heart.hospitals import load_hospitals
from fl.examples.scripts import keras_server, torch_server
from fl.examples.scripts.client import run_client
from fl.main import Outcome
from tests.integration.processes import environment

HOSPITALS = ("cleveland", "hungary", "switzerland", "va-long-beach")
SERVERS: dict[str, Callable[..., Outcome]] = {
    "torch_server": torch_server.run_server,
    "keras_server": keras_server.run_server,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a folder of each hospital."""
    write_example(load_hospitals(0), tmp_path)
    return tmp_path


@contextmanager
def sites(url: str, folder: Path) -> Iterator[None]:
    """The hospitals' scripts in threads; they end with the run."""
    threads = [
        threading.Thread(
            target=run_client, args=(NetworkClientConfig(protocol="memory", uri=url, name=name), folder / name)
        )
        for name in HOSPITALS
    ]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(30.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", SERVERS)
def test_a_network_learns_from_the_hospitals_in_one_process(name: str, memory_url: str, folder: Path) -> None:
    with sites(memory_url, folder):
        netwk = NetworkServerConfig(protocol="memory", uri=memory_url)
        outcome = SERVERS[name](netwk, folder / "outputs", sites=4)

    # Then it tells the ill from the others better than a guess at the more frequent answer, which is right 0.55 times
    best = outcome.history.rows[outcome.best_round]
    assert best["accuracy"] > 0.75
    # And every hospital has the weights that the researcher has
    for home in (folder / hospital for hospital in HOSPITALS):
        assert Checkpointer(home / "outputs" / outcome.run).load("best").weights == outcome.weights


@pytest.mark.rabbitmq
def test_each_party_is_a_script_of_its_own_over_rabbitmq(rabbit_url: str, folder: Path) -> None:
    # Given two of the hospitals
    def start(module: str, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", f"fl.examples.scripts.{module}", rabbit_url, *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    # When
    parties = [start("torch_server", "2"), *(start("client", hospital) for hospital in HOSPITALS[:2])]
    try:
        said = [party.communicate(timeout=100.0) for party in parties]
    finally:
        for party in parties:
            party.kill()

    # Then
    assert [party.returncode for party in parties] == [0] * 3, [errors for _, errors in said]
    assert "'accuracy'" in said[0][0]
    assert list((folder / "outputs").glob("*.safetensors"))
