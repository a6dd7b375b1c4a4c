"""Weights that a run starts from: read, arranged as the model has them, and refused where they are another model's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from fl.core.checkpoint import Checkpointer
from fl.core.data_info import DataInfo
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, ModelError
from fl.main import FederatedServer
from fl.main.experiment import Experiment
from fl.main.initial import load_initial

REGRESSOR = {"kind": "sklearn-sgd", "config": {"kind": "regressor"}}


def a_model(n_features: int = 2) -> SklearnSGDModel:
    model = SklearnSGDModel.from_parameters("regressor")
    model.initialize(DataInfo(10, n_features))
    return model


def weights(value: float, **arrays: Any) -> NumpyVector:
    return NumpyVector.from_arrays({"coef": np.full((1, 2), value), "intercept": np.full(1, value), **arrays})


def test_weights_from_memory_are_taken_as_they_are() -> None:
    assert load_initial(weights(3.0), a_model()) == weights(3.0)


def test_a_file_that_another_program_wrote_is_brought_into_the_model_s_order(tmp_path: Path) -> None:
    # Given
    path = tmp_path / "theirs.safetensors"
    arrays = {"intercept": np.full(1, 5.0), "coef": np.full((1, 2), 4.0)}
    save_file(arrays, path)
    # When
    loaded = load_initial(path, a_model())
    # Then
    assert loaded.layout == a_model().get_weights().layout
    np.testing.assert_array_equal(loaded.flat, [4.0, 4.0, 5.0])


def test_of_a_folder_of_checkpoints_the_best_are_taken(tmp_path: Path) -> None:
    # Given
    keeper = Checkpointer(tmp_path)
    keeper.save(1, weights(1.0), best=True)
    keeper.save(2, weights(2.0))
    # Then
    assert load_initial(tmp_path, a_model()) == weights(1.0)
    assert load_initial(tmp_path / "latest.safetensors", a_model()) == weights(2.0)


def test_of_a_folder_without_best_ones_the_latest_are_taken(tmp_path: Path) -> None:
    # Given
    Checkpointer(tmp_path).save(2, weights(2.0))
    # Then
    assert load_initial(tmp_path, a_model()) == weights(2.0)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (NumpyVector.from_arrays({"coef": np.zeros((1, 2))}), "tensor 'intercept' is missing"),
        (weights(0.0, more=np.zeros(1)), "tensor 'more' is none of the model's"),
        (
            NumpyVector.from_arrays({"coef": np.zeros((1, 3)), "intercept": np.zeros(1)}),
            r"tensor 'coef' differs: coef: float64\[1, 2\] against coef: float64\[1, 3\]",
        ),
        (weights(0.0).astype("float32"), "tensor 'coef' differs"),
    ],
)
def test_weights_of_another_model_are_refused_with_the_tensor_that_differs(start: NumpyVector, problem: str) -> None:
    with pytest.raises(ModelError, match=f"the initial weights: .*{problem}") as caught:
        load_initial(start, a_model())
    assert "of another model" in str(caught.value)


def test_where_the_model_waits_for_its_data_nothing_can_be_compared_yet() -> None:
    # Given
    start = weights(0.0, more=np.zeros(1))
    # Then
    assert load_initial(start, SklearnSGDModel.from_parameters("regressor")) == start
    assert load_initial(start, REGRESSOR) == start


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown model 'skleran-sgd'"):
        load_initial(weights(0.0), {"kind": "skleran-sgd"})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.safetensors: no such file"):
        load_initial(tmp_path / "nowhere.safetensors", a_model())


# ---- where they are written -----------------------------------------------------------------------------------------

TABLE: Mapping[str, Any] = {
    "model": REGRESSOR,
    "optim": {"client_opt": 0.1},
    "run": {"rounds": 1, "training": {"batch_size": 8}},
}
TOML = """
initial_weights = "before"
model = { kind = "sklearn-sgd", config = { kind = "regressor" } }
optim.client_opt = 0.1
run = { rounds = 1, training = { batch_size = 8 } }
"""


def test_an_experiment_s_file_names_them_relative_to_itself(tmp_path: Path) -> None:
    # Given
    (tmp_path / "run.toml").write_text(TOML)
    Checkpointer(tmp_path / "before").save(3, weights(3.0))
    # When
    experiment = Experiment.from_file(tmp_path / "run.toml")
    # Then
    assert experiment.start() == weights(3.0)


def test_what_the_command_line_names_takes_their_place(tmp_path: Path) -> None:
    # Given
    (tmp_path / "run.toml").write_text(TOML)
    Checkpointer(tmp_path / "other").save(4, weights(4.0))
    # When
    start = Experiment.from_file(tmp_path / "run.toml").start(tmp_path / "other")
    # Then
    assert start == weights(4.0)


def test_an_experiment_without_any_starts_from_the_model_s_own() -> None:
    assert Experiment.parse(TABLE, "run.toml").start() is None


def test_they_are_no_part_of_the_spec_that_travels(tmp_path: Path) -> None:
    # Given
    (tmp_path / "run.toml").write_text(TOML)
    # When
    spec = Experiment.from_file(tmp_path / "run.toml").spec
    # Then
    assert "initial_weights" not in spec.to_json()


def test_a_script_s_are_refused_before_anything_is_submitted() -> None:
    # Given
    start = weights(0.0, more=np.zeros(1))
    server = FederatedServer(
        a_model(), {"uri": "memory://x", "protocol": "memory"}, {"client_opt": 0.1}, initial_weights=start
    )
    # Then
    with pytest.raises(ModelError, match="tensor 'more' is none of the model's"):
        server.submit({"rounds": 1, "training": {"batch_size": 8}})
