"""Scripts as users write them: the quickstart, on both brokers."""

import asyncio
import json
import re
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
        write_samples(folder / f"{name}.csv", seed)


def write_samples(path: Path, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(60, 2))
    rows = (f"{one:.6f},{two:.6f},{'yes' if one + two > 0 else 'no'}" for one, two in x)
    path.write_text("\n".join(["a,b,label", *rows, ""]))


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
def clients_as_threads(uri: str, folder: Path, *, hide_metrics: str | None = None) -> Iterator[None]:
    def run(name: str) -> None:
        netwk = fl.communication.NetworkClientConfig(protocol="memory", uri=uri, name=name)
        train = fl.dataset.InMemoryDataset(folder / f"{name}.csv", target="label", expose_classes=True)
        state, kept = folder / f"state-{name}", folder / f"at-{name}"
        client = fl.main.FederatedClient(netwk, train, checkpoint=kept, state=state, share_metrics=name != hide_metrics)
        client.run()

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


def readme_scripts() -> dict[str, str]:
    """The quickstart's two scripts, by the class that each is about."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    return {kind: block for kind in ("FederatedServer", "FederatedClient") for block in blocks if f"{kind}(" in block}


@pytest.mark.rabbitmq
def test_the_scripts_of_the_readme_run_as_they_stand(rabbit_url: str, tmp_path: Path) -> None:
    # Given the two scripts, with nothing changed but where the broker is and who each client is
    url = "amqps://user:password@broker.example/vhost"
    scripts = {kind: text.replace(url, rabbit_url) for kind, text in readme_scripts().items()}
    parties = {"researcher": scripts["FederatedServer"]}
    for name in (*NAMES, "cat"):
        parties[name] = scripts["FederatedClient"].replace("client_name", name)
        (tmp_path / name / "path" / "to").mkdir(parents=True)
        for seed, part in enumerate(("train", "valid")):
            write_samples(tmp_path / name / "path" / "to" / f"{part}.csv", seed)
    (tmp_path / "researcher").mkdir()

    # When
    started = [
        subprocess.Popen(
            [sys.executable, "-c", text],
            cwd=tmp_path / name,
            env=environment(tmp_path / name),
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, text in parties.items()
    ]
    try:
        errors = [process.communicate(timeout=60.0)[1] for process in started]
    finally:
        for process in started:
            process.kill()

    # Then every one of them has the best weights
    assert [process.returncode for process in started] == [0] * 4, errors
    for name in parties:
        assert list((tmp_path / name / "outputs").rglob("*.safetensors"))


def test_all_configs_may_be_tables_or_files(memory_url: str, tmp_path: Path) -> None:
    # Given: the same run by tables, by files and by configs that were made of tables
    write_data(tmp_path)
    optim = {"aggregator": {"name": "averaging", "config": {"steps_weighted": True}}, "client_opt": {"lrate": 0.1}}
    run = RUN | {"register": 2, "seed": 3}
    (tmp_path / "optim.toml").write_text(
        'aggregator = { name = "averaging", config = { steps_weighted = true } }\nclient_opt = { lrate = 0.1 }\n'
    )
    (tmp_path / "run.toml").write_text(
        "rounds = 3\nregister = 2\nseed = 3\ntraining = { n_epoch = 2, batch_size = 8, drop_remainder = false }\n"
    )
    (tmp_path / "netwk.toml").write_text(f'protocol = "memory"\nuri = "{memory_url}-files"\n')
    netwk = {"protocol": "memory", "uri": f"{memory_url}-tables"}
    made = fl.communication.NetworkServerConfig.from_config(netwk | {"uri": f"{memory_url}-made"})
    ways: dict[str, tuple[Any, Any, Any]] = {
        "tables": (netwk, optim, run),
        "files": (tmp_path / "netwk.toml", str(tmp_path / "optim.toml"), tmp_path / "run.toml"),
        "made": (made, FLOptimConfig.from_config(optim), FLRunConfig.from_config(run)),
    }

    # When
    outcomes = {}
    for way, configs in ways.items():
        with clients_as_threads(f"{memory_url}-{way}", tmp_path):
            outcomes[way] = server(configs[0], tmp_path, optim=configs[1]).run(configs[2])

    # Then
    assert outcomes["tables"].weights is not None
    assert outcomes["tables"].weights == outcomes["files"].weights == outcomes["made"].weights


def test_a_site_that_hides_its_metrics_still_tells_its_loss(memory_url: str, tmp_path: Path) -> None:
    # Given one site of two that hides them
    write_data(tmp_path)
    netwk = fl.communication.NetworkServerConfig(protocol="memory", uri=memory_url)
    metrics = [("binary-classif", {"label": "yes"}), fl.metrics.BinaryRocAUC(label="yes")]

    # When
    with clients_as_threads(memory_url, tmp_path, hide_metrics="bee"):
        row = server(netwk, tmp_path, metrics=metrics).run(FLRunConfig.from_params(**RUN)).history.table()[-1]

    # Then metrics are of the other's 60 samples, and the loss is of both
    assert (row["binary-classif/n"], row["binary-roc/n"]) == (60, 60)
    assert row["loss"] == pytest.approx((row["loss of ant"] + row["loss of bee"]) / 2)


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
