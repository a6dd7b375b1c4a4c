"""Scripts as users write them: the quickstart, on both brokers."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fl.aggregator
import fl.communication
import fl.dataset
import fl.main
import fl.metrics
import fl.model.sklearn
import fl.optimizer
from fl.core.metrics.mean import Loss
from fl.errors import ConfigError
from fl.main.config import FLOptimConfig, FLRunConfig
from tests.integration.parties import Parties
from tests.integration.processes import environment

CLIENT = """
import sys
import fl.communication, fl.dataset, fl.main

uri, name, folder = sys.argv[1:]
netwk = fl.communication.NetworkClientConfig(protocol="rabbitmq", uri=uri, name=name)
train = fl.dataset.InMemoryDataset(f"{folder}/{name}.csv", target="label", expose_classes=True)
client = fl.main.FederatedClient(netwk, train, checkpoint=f"{folder}/at-{name}")
client.run()
"""

NAMES = ("ant", "bee")
RUN: dict[str, Any] = {
    "rounds": 3,
    "register": {"min_clients": 2, "max_clients": 3, "timeout": 5},
    "training": {"n_epoch": 2, "batch_size": 8, "drop_remainder": False},
}


def write_data(folder: Path) -> None:
    """A CSV file a client: two features, whose sum says which label."""
    for seed, name in enumerate(NAMES):
        x = np.random.default_rng(seed).normal(size=(60, 2))
        rows = (f"{one:.6f},{two:.6f},{'yes' if one + two > 0 else 'no'}" for one, two in x)
        (folder / f"{name}.csv").write_text("\n".join(["a,b,label", *rows, ""]))


def server(netwk: fl.communication.NetworkServerConfig, folder: Path, **options: Any) -> fl.main.FederatedServer:
    model = fl.model.sklearn.SklearnSGDModel.from_parameters(kind="classifier", loss="log_loss", penalty="l1")
    optim = FLOptimConfig.from_params(aggregator="averaging", client_opt=0.1)
    return fl.main.FederatedServer(model, netwk, options.pop("optim", optim), checkpoint=folder / "outputs", **options)


def assert_finished(outcome: fl.main.Outcome, folder: Path) -> None:
    table = outcome.history.table()
    assert [row["round"] for row in table] == [1, 2, 3]
    assert table[-1]["loss"] < table[0]["loss"]
    written = {path.suffix for path in (folder / "outputs").iterdir()}
    assert {".csv", ".safetensors"} <= written
    for name in NAMES:
        assert list((folder / f"at-{name}").rglob("*.safetensors"))


@contextmanager
def clients_as_threads(uri: str, folder: Path) -> Iterator[None]:
    def run(name: str) -> None:
        netwk = fl.communication.NetworkClientConfig(protocol="memory", uri=uri, name=name)
        train = fl.dataset.InMemoryDataset(folder / f"{name}.csv", target="label", expose_classes=True)
        state, kept = folder / f"state-{name}", folder / f"at-{name}"
        fl.main.FederatedClient(netwk, train, checkpoint=kept, state=state).run()

    threads = [threading.Thread(target=run, args=(name,)) for name in NAMES]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()


@contextmanager
def clients_as_processes(uri: str, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-c", CLIENT, uri]
    started = [
        subprocess.Popen([*command, name, str(folder)], env=environment(folder), stderr=subprocess.DEVNULL)
        for name in NAMES
    ]
    try:
        yield
        assert [process.wait(30.0) for process in started] == [0, 0]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()


def test_the_quickstart_runs_in_one_process(memory_url: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    netwk = fl.communication.NetworkServerConfig(protocol="memory", uri=memory_url)

    with clients_as_threads(memory_url, tmp_path):
        outcome = server(netwk, tmp_path).run(FLRunConfig.from_params(**RUN))

    assert_finished(outcome, tmp_path)


@pytest.mark.rabbitmq
def test_the_quickstart_runs_over_rabbitmq_with_each_client_a_process(rabbit_url: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    netwk = fl.communication.NetworkServerConfig(protocol="rabbitmq", uri=rabbit_url)

    with clients_as_processes(rabbit_url, tmp_path):
        outcome = server(netwk, tmp_path).run(FLRunConfig.from_params(**RUN | {"register": 2}))

    assert_finished(outcome, tmp_path)


def test_parts_may_be_objects_wherever_they_may_be_names_and_configs_may_be_files(
    memory_url: str, tmp_path: Path
) -> None:
    # Given: the same run, once by names and once by objects, with the run's table in a file
    write_data(tmp_path)
    (tmp_path / "run.toml").write_text(
        "rounds = 3\nregister = 2\nseed = 3\n[training]\nn_epoch = 2\nbatch_size = 8\ndrop_remainder = false\n"
    )
    (tmp_path / "optim.toml").write_text('aggregator = "averaging"\nclient_opt = 0.1\n')
    objects = FLOptimConfig.from_params(
        aggregator=fl.aggregator.AveragingAggregator(), client_opt=fl.optimizer.Optimizer(lrate=0.1)
    )
    by_objects = (objects, fl.metrics.MetricSet([Loss()]))
    outcomes = []

    # When
    for place, (optim, metrics) in enumerate(((tmp_path / "optim.toml", ["loss"]), by_objects)):
        uri = f"{memory_url}-{place}"
        netwk = fl.communication.NetworkServerConfig(protocol="memory", uri=uri)
        with clients_as_threads(uri, tmp_path):
            outcomes.append(server(netwk, tmp_path, optim=optim, metrics=metrics).run(tmp_path / "run.toml"))

    # Then
    assert outcomes[0].weights is not None
    assert outcomes[0].weights == outcomes[1].weights


async def test_a_submitted_run_is_left_to_the_workers(memory_url: str, tmp_path: Path) -> None:
    netwk = fl.communication.NetworkServerConfig(protocol="memory", uri=memory_url)
    async with Parties(memory_url) as parties:
        script = server(netwk, tmp_path)
        config = FLRunConfig.from_params(**RUN | {"register": {"min_clients": 1, "timeout": 0.2}})

        name = await asyncio.to_thread(script.submit, config)
        parties.worker()
        await parties.until_deleted(f"fl.run.{name}.server")


MEMORY = fl.communication.NetworkServerConfig(protocol="memory", uri="memory://never-used")

WRONG: dict[str, Callable[[], object]] = {
    "rounds in words": lambda: FLRunConfig.from_params(**RUN | {"rounds": "three"}),
    "unknown key": lambda: FLRunConfig.from_params(**RUN | {"round": 3}),
    "an aggregator that is a number": lambda: FLOptimConfig.from_params(aggregator=3, client_opt=0.1),
    "a list for a run": lambda: server(MEMORY, Path("unused")).run([1, 2]),  # type: ignore[arg-type]  # on purpose
    "a model that is text": lambda: fl.main.FederatedServer("model", MEMORY, {"client_opt": 0.1}).run(RUN),  # type: ignore[arg-type]  # on purpose
    "another protocol": lambda: fl.communication.NetworkServerConfig.from_params(protocol="carrier pigeon"),
    "a metric that is a number": lambda: server(MEMORY, Path("unused"), metrics=[7]).run(RUN),
    "metrics that are one text": lambda: server(MEMORY, Path("unused"), metrics="mse").run(RUN),
    "metrics that are no list": lambda: server(MEMORY, Path("unused"), metrics=7).run(RUN),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_the_wrong_type_is_an_error_in_words(name: str) -> None:
    with pytest.raises(ConfigError):
        WRONG[name]()


def test_importing_the_package_imports_no_numpy() -> None:
    code = "import fl, sys, json; print(json.dumps([name for name in sys.modules if name.startswith('numpy')]))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert json.loads(done.stdout) == []
