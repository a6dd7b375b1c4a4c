"""`fluffle simulate` as a person runs it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl.cli.simulate import run_simulation
from fl.cli.split import Plan
from fl.errors import ConfigError, DataError
from tests.integration.processes import run_fluffle

RUN = """
name = "trial"
metrics = ["mse"]
model.kind = "sklearn-sgd"
model.config = { kind = "regressor" }
optim.client_opt = 0.05
run.rounds = 3
run.register = 2
run.seed = 1
run.training = { batch_size = 8, shuffle = true, drop_remainder = false }
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A run with two clients, the second of which has data of its own to evaluate on."""
    rng = np.random.default_rng(0)
    text = RUN
    for name in ("ant", "bee"):
        for part in ("train", "valid"):
            rows = rng.normal(size=(30, 4))
            np.savetxt(tmp_path / f"{name}-{part}.csv", rows, delimiter=",", header="a,b,c,y", comments="")
        text += f'[[clients]]\nname = "{name}"\ntrain = {{ path = "{name}-train.csv", target = "y" }}\n'
    text += 'valid = { path = "bee-valid.csv", target = "y" }\n'
    (tmp_path / "run.toml").write_text(text)
    return tmp_path / "run.toml"


def test_without_a_number_of_clients_it_leaves_what_quickrun_leaves(experiment: Path, tmp_path: Path) -> None:
    run_fluffle("quickrun", experiment, "--out", tmp_path / "quick", folder=tmp_path).check_returncode()
    run_fluffle("simulate", experiment, "--out", tmp_path / "fast", folder=tmp_path).check_returncode()

    for name in ("weights-00003.safetensors", "history.csv"):
        assert (tmp_path / "fast" / name).exists()
    quick, fast = (load_file(tmp_path / folder / "weights-00003.safetensors") for folder in ("quick", "fast"))
    assert {name: array.tobytes() for name, array in quick.items()} == {k: v.tobytes() for k, v in fast.items()}
    assert (tmp_path / "quick" / "history.csv").read_text() == (tmp_path / "fast" / "history.csv").read_text()


def test_it_deals_all_samples_to_as_many_clients_as_are_asked_for(experiment: Path, tmp_path: Path) -> None:
    done = run_fluffle(
        "simulate", experiment, "--clients", "20", "--valid", "0", "--out", tmp_path / "out", folder=tmp_path
    )

    done.check_returncode()
    rows = list(csv.DictReader((tmp_path / "out" / "history.csv").read_text().splitlines()))
    assert [(row["clients"], row["samples"]) for row in rows] == [("20", "90")] * 3
    assert "joined: client-01, client-02, client-03, client-04, client-05, client-06 and 14 more" in done.stdout
    assert "clients/s" in done.stdout


def test_more_clients_than_samples_are_refused_with_the_numbers(experiment: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="90 samples are too few for 100 clients with at least 2 each"):
        run_simulation(experiment, plan=Plan(clients=100), out=tmp_path / "out")


def test_how_to_deal_without_a_number_of_clients_is_refused(experiment: Path, tmp_path: Path) -> None:
    done = run_fluffle("simulate", experiment, "--by", "size", folder=tmp_path)

    assert done.returncode == 2
    assert "--clients" in done.stderr


def test_a_file_without_clients_is_refused_with_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)

    with pytest.raises(ConfigError, match=r"no \[\[clients\]\]: name the data there"):
        run_simulation(tmp_path / "run.toml", plan=Plan(clients=10), out=tmp_path / "out")
