"""The example as files: what a person copies, and what `quickrun` and the daemons read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fl.cli.quickrun import run_quickly
from fl.client.config import ClientConfig
from fl.client.setup import describe
from fl.core.checkpoint import Checkpointer
from fl.core.dataset import Dataset, InMemoryDataset
from fl.examples.heart.compare import score
from fl.examples.heart.folder import FRAMEWORKS, NETWORKS, write_example
from fl.examples.heart.hospitals import load_hospitals, union
from fl.main.experiment import Experiment

HOSPITALS = load_hospitals(0)


def test_files_give_back_the_same_bits(tmp_path: Path) -> None:
    # Given hospitals written to files
    write_example(HOSPITALS, tmp_path)

    for hospital in HOSPITALS:
        for name, patients in (("train", hospital.train), ("valid", hospital.valid), ("test", hospital.held_out)):
            # When a daemon reads them
            read = InMemoryDataset(tmp_path / hospital.name / f"{name}.csv", "disease").take(slice(None))

            # Then
            np.testing.assert_array_equal(read.x, patients.x)
            np.testing.assert_array_equal(read.y, patients.y)


def test_the_run_names_every_hospital_and_its_files(tmp_path: Path) -> None:
    # Given
    run = write_example(HOSPITALS, tmp_path)

    # When quickrun reads it
    clients = Experiment.from_file(run).clients

    # Then each client has a hospital's data
    sizes = {one.name: Dataset.load(describe(one.train)).get_data_specs().n_samples for one in clients}
    assert sizes == {hospital.name: len(hospital.train) for hospital in HOSPITALS}
    watched = {one.name: Dataset.load(describe(one.valid)).get_data_specs().n_samples for one in clients if one.valid}
    assert watched == {hospital.name: len(hospital.valid) for hospital in HOSPITALS}


def test_a_daemon_and_quickrun_read_the_same_data(tmp_path: Path) -> None:
    # Given
    clients = Experiment.from_file(write_example(HOSPITALS, tmp_path)).clients

    for client in clients:
        # When the daemon of that hospital is configured by its own file
        own = ClientConfig.from_file(tmp_path / client.name / "client.toml")

        # Then
        assert (own.name, own.train, own.valid) == (client.name, client.train, client.valid)


@pytest.mark.parametrize(("seed", "rounds"), [(7, 3), (0, None), (None, 12)])
def test_seed_and_rounds_are_written_where_they_are_given(tmp_path: Path, seed: int | None, rounds: int | None) -> None:
    # Given what the example says by itself
    usual = Experiment.from_file(write_example(HOSPITALS, tmp_path / "usual")).spec.run

    # When
    run = Experiment.from_file(write_example(HOSPITALS, tmp_path, seed=seed, rounds=rounds)).spec.run

    # Then
    assert run.seed == (usual.seed if seed is None else seed)
    assert run.rounds == (usual.rounds if rounds is None else rounds)


@pytest.mark.parametrize("framework", NETWORKS)
def test_only_the_model_differs_between_frameworks(tmp_path: Path, framework: str) -> None:
    # Given
    usual = write_example(HOSPITALS, tmp_path / "usual")

    # When
    other = write_example(HOSPITALS, tmp_path / "other", framework=framework)

    # Then
    specs = [Experiment.from_file(path).spec.model_dump(by_alias=True) for path in (usual, other)]
    assert [spec.pop("model")["kind"] for spec in specs] == ["sklearn-sgd", NETWORKS[framework][0]]
    assert specs[0] == specs[1]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_run_of_each_framework_learns(tmp_path: Path, framework: str) -> None:
    # Given
    run = write_example(HOSPITALS, tmp_path, framework=framework, seed=0, rounds=10)

    # When
    run_quickly(run, broker=None, out=tmp_path / "outputs")

    # Then its model is right about more held-out patients than who calls everybody ill, or nobody
    weights = Checkpointer(tmp_path / "outputs").load("best").weights
    held_out = union(hospital.held_out for hospital in HOSPITALS)
    guess = max(held_out.y.mean(), 1 - held_out.y.mean())
    assert score(Experiment.from_file(run).model, weights, held_out).accuracy > guess + 0.15


def test_the_command_names_who_collected_the_data_and_what_to_do_next(tmp_path: Path) -> None:
    # When
    done = subprocess.run(
        [sys.executable, "-m", "fl.examples.heart", tmp_path / "heart"], capture_output=True, text=True, check=True
    )

    # Then
    assert "Andras Janosi, William Steinbrunn, Matthias Pfisterer and Robert Detrano" in done.stdout
    assert f"fluffle quickrun {tmp_path / 'heart' / 'run.toml'}" in done.stdout
    assert (tmp_path / "heart" / "run.toml").is_file()
