"""Parts from a package of another party: installed beside ours, used by name, and what is said where they are not."""

import csv
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.integration.processes import Fluffle, environment, run_fluffle

ROOT: Final = Path(__file__).parents[2]
NEEDED: Final = "this run needs fluffle-extra 0.1: pip install fluffle-extra"

RUN: Final = """
name = "counts"
metrics = ["poisson-deviance"]

[model]
kind = "poisson-regression"

[optim]
server_opt = { lrate = 1.0, modules = ["mean-norm-server"] }
aggregator = { name = "tempered-averaging", power = 0.5 }
[optim.client_opt]
lrate = { name = "inverse-root", base = 0.1 }
regularizers = [["smooth-lasso", { alpha = 0.001 }]]
modules = ["mean-norm-clipping"]

[run]
rounds = 4
seed = 7
register = { min_clients = 1, max_clients = 2 }
sampling = { clients = 2, by = "in-turn" }
training = { batch_size = 16, shuffle = true }
"""
"""Every part that has a name is of the other package."""

ALONE: Final = RUN.replace("max_clients = 2", "max_clients = 1")

DIFFERENCES: Final = """
import numpy as np
from fl.core.data_info import DataInfo
from fl.core.vector import NumpyVector
from fl.dataset import Batch
from fl.model import Model

rng = np.random.default_rng(0)
batch = Batch(rng.normal(size=(20, 3)), rng.poisson(2.0, size=20), rng.uniform(size=20))
model = Model.registry.get("poisson-regression").from_config({})
model.initialize(DataInfo(n_samples=20, n_features=3))
start = model.get_weights()
start.flat[:] = rng.normal(size=4)

def loss(flat):
    model.set_weights(NumpyVector(start.layout, flat))
    return np.mean(batch.weights * model.loss_function(batch.y, model.forward(batch)))

differences = [(loss(start.flat + step) - loss(start.flat - step)) / 2e-6 for step in 1e-6 * np.eye(4)]
model.set_weights(start)
np.testing.assert_allclose(model.compute_batch_gradients(batch).flat, differences, rtol=1e-6)

for sample in (Batch(*(part[place : place + 1] for part in batch)) for place in range(20)):
    plain, clipped = model.compute_batch_gradients(sample), model.compute_batch_gradients(sample, 0.5)
    np.testing.assert_allclose(clipped.flat, plain.flat * min(1.0, 0.5 / plain.norm()))
"""

LINEAR: Final = """
model = { kind = "sklearn-sgd", config = { kind = "regressor" } }
optim.client_opt = { lrate = 0.01, modules = ["fragile"] }
run = { rounds = 1, register = 1, patience = 0, training = { batch_size = 8 } }
"""

FRAGILE: Final = """
from fl.optimizer import OptiModule

class Fragile(OptiModule):
    name = "fragile"

    def run(self, gradients):
        raise ZeroDivisionError("no such luck")
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the parties of a test meet, and where their files are."""

    folder: Path
    broker: str


@pytest.fixture
def place(tmp_path: Path, rabbit_url: str) -> Place:
    return Place(tmp_path, rabbit_url)


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the other package is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("extra")
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", folder)
    subprocess.run([sys.executable, "-m", "pip", *install, ROOT / "tests" / "plugin"], check=True)
    return folder


def write_plugin(folder: Path, name: str, source: str) -> Path:
    """An installed distribution of one module, as pip would leave it; returns the folder to put on the path."""
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[fluffle.plugins]\n{name} = {name}\n")
    return folder


def path_with(*folders: Path) -> str:
    """PYTHONPATH of a party that has these packages beside ours."""
    return ":".join(map(str, (ROOT, *folders)))


def train_table(folder: Path, seed: int) -> str:
    """A site's data in the format that only the other package reads."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(64 * (seed + 1), 3))
    y = rng.poisson(np.exp(x @ [0.5, -0.3, 0.2] + 0.4))
    path = folder / f"{seed}.events"
    path.write_text("\n".join(f"{a:.3f} {b:.3f} {c:.3f} : {count}" for (a, b, c), count in zip(x, y, strict=True)))
    return f'train = {{ kind = "event-counts", path = "{path}" }}'


def csv_table(folder: Path) -> str:
    """A site's data in a format that needs no other package."""
    rng = np.random.default_rng(5)
    rows = np.column_stack([rng.normal(size=(64, 3)), rng.poisson(1.5, size=64)])
    np.savetxt(folder / "plain.csv", rows, delimiter=",", header="a,b,c,n", comments="")
    return f'train = {{ path = "{folder}/plain.csv", target = "n" }}'


def write(path: Path, *parts: str) -> Path:
    path.write_text("\n".join(parts))
    return path


@contextmanager
def party(*arguments: str | Path, at: Place, path: str) -> Iterator[Fluffle]:
    """A worker or daemon that has what is on `path`."""
    errors = at.folder / f"{arguments[0]}-{Path(arguments[1]).stem}.log"
    with errors.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fl.cli", *arguments],
            env=environment(at.folder, FLUFFLE_BROKER=at.broker, PYTHONPATH=path),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Fluffle(process, errors)
    finally:
        process.kill()
        process.wait()


def ask(*arguments: str | Path, at: Place, path: str) -> "subprocess.CompletedProcess[str]":
    """Run a researcher's command to its end."""
    return run_fluffle(*arguments, folder=at.folder, FLUFFLE_BROKER=at.broker, PYTHONPATH=path)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


# ---- where it is installed -------------------------------------------------------------------------------------------


def test_every_part_of_another_package_is_used_by_its_name_in_one_process(extra: Path, tmp_path: Path) -> None:
    sites = [f'[[clients]]\nname = "{name}"\n{train_table(tmp_path, seed)}' for seed, name in enumerate(("ant", "bee"))]
    file = write(tmp_path / "run.toml", RUN, *sites)

    done = run_fluffle("quickrun", file, "--out", tmp_path / "out", folder=tmp_path, PYTHONPATH=path_with(extra))

    assert done.returncode == 0, done.stderr
    deviances = [float(row["poisson-deviance"]) for row in history(tmp_path / "out")]
    assert len(deviances) == 4
    assert deviances[-1] < deviances[0]


@pytest.mark.rabbitmq
def test_parties_apart_that_have_the_package_come_to_what_one_process_comes_to(extra: Path, place: Place) -> None:
    # Given: what one process makes of it
    folder, path = place.folder, path_with(extra)
    tables = {name: train_table(folder, seed) for seed, name in enumerate(("ant", "bee"))}
    whole = write(folder / "whole.toml", RUN, *(f'[[clients]]\nname = "{name}"\n{tables[name]}' for name in tables))
    run_fluffle("quickrun", whole, "--out", folder / "whole", folder=folder, PYTHONPATH=path).check_returncode()
    ant, bee = (write(folder / f"{name}.toml", f'name = "{name}"', tables[name]) for name in tables)

    # When
    with (
        party("server", "--name=w", at=place, path=path),
        party("client", ant, at=place, path=path),
        party("client", bee, at=place, path=path),
    ):
        done = ask("submit", write(folder / "run.toml", RUN), "--watch", at=place, path=path)
    fetched = ask("fetch", done.stdout.splitlines()[0], folder / "apart", at=place, path=path)

    # Then
    assert done.returncode == 0, done.stderr
    assert fetched.returncode == 0, fetched.stderr
    assert history(folder / "apart") == history(folder / "whole")


def test_a_broken_package_takes_no_names_from_others(extra: Path, tmp_path: Path) -> None:
    broken = write_plugin(tmp_path / "broken", "broken", "import no_such_module")
    file = write(tmp_path / "run.toml", ALONE, f'[[clients]]\nname = "ant"\n{train_table(tmp_path, 0)}')

    done = run_fluffle("quickrun", file, folder=tmp_path, PYTHONPATH=path_with(broken, extra))

    assert done.returncode == 0, done.stderr


def test_the_other_packages_model_has_the_gradient_of_its_loss(extra: Path, tmp_path: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-c", DIFFERENCES],
        env=environment(tmp_path, PYTHONPATH=path_with(extra)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


# ---- where it is not -------------------------------------------------------------------------------------------------


def refused(folder: Path, *packages: Path) -> str:
    """The one line that a submitter is told, before anybody is connected to."""
    file = write(folder / "run.toml", LINEAR)
    at = {"PYTHONPATH": path_with(*packages), "FLUFFLE_BROKER": "amqp://127.0.0.1:1/"}
    done = run_fluffle("submit", file, folder=folder, **at)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line


def test_a_submitter_without_the_package_is_told_to_install_it(tmp_path: Path) -> None:
    line = refused(tmp_path)

    assert "unknown optimizer module 'fragile'" in line
    assert "if another package brings it, install that here" in line


IMPORTED: Final = "from fl.optimizer import OptiModule\n"

FLAWS: Final = {
    "breaks when it is imported": (
        "raise RuntimeError('out of order')",
        "plug-in fragile (fragile) of fragile 2.0 failed to load: RuntimeError('out of order')",
    ),
    "lacks a method": (
        f"{IMPORTED}class Half(OptiModule):\n    name = 'fragile'\n",
        "optimizer module 'fragile' is unfinished: fragile:Half does not define run",
    ),
    "raises when it is built": (
        FRAGILE + "\n    def __init__(self):\n        raise ValueError('not today')\n",
        "fragile: its options are refused: not today",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_submitter_with_a_flawed_package_is_told_what_is_wrong_with_it(tmp_path: Path, flaw: str) -> None:
    source, expected = FLAWS[flaw]

    assert expected in refused(tmp_path, write_plugin(tmp_path / "plug-ins", "fragile", source))


def test_a_submitter_with_two_packages_that_bring_one_name_is_told_both(tmp_path: Path) -> None:
    for name in ("fragile", "frail"):
        folder = write_plugin(tmp_path / "plug-ins", name, FRAGILE)

    line = refused(tmp_path, folder)

    assert "two packages bring one name, uninstall one of them" in line
    assert "fragile:Fragile" in line
    assert "frail:Fragile" in line


@pytest.mark.rabbitmq
def test_a_daemon_without_the_package_says_what_to_install_and_others_go_on(extra: Path, place: Place) -> None:
    ant = write(place.folder / "ant.toml", 'name = "ant"', train_table(place.folder, 0))
    bee = write(place.folder / "bee.toml", 'name = "bee"', csv_table(place.folder))
    file, path = write(place.folder / "run.toml", RUN), path_with(extra)

    with (
        party("server", "--name=w", at=place, path=path),
        party("client", ant, at=place, path=path),
        party("client", bee, at=place, path=path_with()) as without,
    ):
        done = ask("submit", file, "--watch", at=place, path=path)

    assert done.returncode == 0, done.stderr
    assert NEEDED in without.log
    assert NEEDED in done.stdout


@pytest.mark.rabbitmq
def test_a_worker_without_the_package_fails_the_run_and_says_what_to_install(extra: Path, place: Place) -> None:
    ant = write(place.folder / "ant.toml", 'name = "ant"', train_table(place.folder, 0))
    file, path = write(place.folder / "run.toml", ALONE), path_with(extra)

    with party("server", "--name=w", at=place, path=path_with()), party("client", ant, at=place, path=path):
        done = ask("submit", file, "--watch", at=place, path=path)

    assert done.returncode == 1
    assert NEEDED in done.stderr


# ---- where it fails --------------------------------------------------------------------------------------------------


@pytest.mark.rabbitmq
async def test_a_module_that_raises_in_training_costs_its_run_and_the_daemon_serves_the_next(place: Place) -> None:
    # Given: a daemon with a package whose module raises, a run that uses it, and one that does not
    path = path_with(write_plugin(place.folder / "fragile", "fragile", FRAGILE))
    ant = write(place.folder / "ant.toml", 'name = "ant"', csv_table(place.folder))
    fragile = write(place.folder / "fragile.toml", LINEAR)
    sound = write(place.folder / "sound.toml", LINEAR.replace('"fragile"', '"momentum"'))

    # When
    with party("server", "--name=w", at=place, path=path), party("client", ant, at=place, path=path) as daemon:
        failed, finished = [ask("submit", file, "--watch", at=place, path=path) for file in (fragile, sound)]
        code = await daemon.signal(signal.SIGTERM)

    # Then
    assert failed.returncode == 1
    assert "ZeroDivisionError: no such luck" in failed.stderr
    assert finished.returncode == 0, finished.stderr
    assert code == 0
