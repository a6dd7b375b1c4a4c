"""Keras models: what a config or a factory makes, and what is refused in one."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from fl.core import doors
from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model import Model
from fl.core.model.tensorflow import TensorflowModel
from fl.core.optimizer import Optimizer
from fl.errors import ConfigError, ModelError
from tests.unit.core import tensorflow_zoo as zoo
from tests.unit.core.tensorflow_zoo import LOGITS, ZOO, Plain, Scale, Stranger, model_of, sequential

layers = keras.layers
HERE = "tests.unit.core.tensorflow_zoo"


@pytest.fixture
def allowed() -> Any:
    before = doors.get_doors()
    doors.set_doors(doors.Doors(factories=(f"{HERE}:*",)))
    yield
    doors.set_doors(before)


@pytest.mark.parametrize("name", ZOO)
def test_a_model_of_a_sent_config_with_the_weights_of_another_computes_as_that_one(name: str) -> None:
    # Given a model's config, as text
    model, batch = model_of(name), ZOO[name].batch()
    config = json.loads(json.dumps(model.get_config()))
    # When it is built somewhere else, with these weights
    built = Model.registry.build(("tensorflow", config))
    built.set_weights(model.get_weights().to_numpy())
    # Then it is that model
    assert built.get_config() == model.get_config()
    assert built.get_weights().to_numpy() == model.get_weights().to_numpy()
    np.testing.assert_allclose(built.forward(batch), model.forward(batch), rtol=1e-6)


def test_what_layers_do_in_training_only_and_the_options_go_through_a_config_too() -> None:
    # Given a model with penalties and statistics
    original = sequential(layers.Dense(3, kernel_regularizer="l2"), layers.BatchNormalization(), shape=(4,))
    model, batch = TensorflowModel(original, LOGITS, buffers="local"), ZOO["mlp"].batch()
    # When another is built of its config
    built = TensorflowModel.from_config(json.loads(json.dumps(model.get_config())))
    built.set_weights(model.get_weights())
    # Then they have the same gradient and statistics
    mine, theirs = (one.compute_batch_gradients(batch).flat for one in (model, built))
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    assert built.get_state()["buffers"].to_numpy() == model.get_state()["buffers"].to_numpy()


@pytest.mark.parametrize("key", ["architecture", "loss"])
def test_who_changes_a_config_changes_no_model(key: str) -> None:
    model = model_of("mlp")
    before = json.dumps(model.get_config())
    model.get_config()[key]["config"].clear()
    assert json.dumps(model.get_config()) == before


def test_a_lambda_layer_is_refused_with_advice() -> None:
    with pytest.raises(ModelError, match="Lambda cannot be part of a config: it holds code"):
        TensorflowModel(sequential(layers.Lambda(lambda x: x), layers.Dense(1), shape=(2,)), "mse")


@pytest.mark.parametrize("model", [Plain, lambda: sequential(Stranger(1), shape=(2,))])
def test_a_class_that_is_registered_nowhere_is_refused_with_advice(model: Any) -> None:
    with pytest.raises(ModelError, match=r"register_keras_serializable .* or give a factory"):
        TensorflowModel(model(), "mse")


@pytest.mark.parametrize(
    ("name", "thing"),
    [
        ("module", {"module": "os", "class_name": "system", "config": {}}),
        ("function", {"module": "keras.utils", "class_name": "function", "config": "get_file"}),
        ("lambda", {"class_name": "__lambda__", "config": {"value": "x"}}),
        ("table", {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}),
        ("saved", {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "model"}}),
        ("switch", {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}),
    ],
)
def test_a_config_that_names_what_is_no_harmless_part_of_keras_is_refused(name: str, thing: dict[str, Any]) -> None:
    config = model_of("mlp").get_config()
    config["architecture"]["config"]["layers"][1]["config"]["activation"] = thing
    with pytest.raises(ModelError, match=r"cannot be part of a config|neither Keras's nor registered"):
        TensorflowModel.from_config(config)


def test_a_config_that_keras_cannot_build_is_a_model_error() -> None:
    config = model_of("mlp").get_config()
    config["architecture"]["config"]["layers"][1]["config"]["units"] = -3
    with pytest.raises(ModelError, match="Keras cannot build this config"):
        TensorflowModel.from_config(config)


def test_an_adapted_normalization_layer_is_refused_with_advice() -> None:
    norm = layers.Normalization()
    norm.adapt(np.ones((4, 2), np.float32))
    with pytest.raises(ModelError, match="give it mean= and variance="):
        TensorflowModel(sequential(norm, layers.Dense(1), shape=(2,)), "mse")


def test_a_variable_that_is_frozen_alone_is_refused_with_advice() -> None:
    model = zoo.mlp()
    model.layers[0].kernel.trainable = False
    with pytest.raises(ModelError, match="freeze whole layers rather than variables"):
        TensorflowModel(model, LOGITS)


def test_a_factory_that_the_site_does_not_allow_is_not_imported() -> None:
    config = TensorflowModel.from_factory(f"{HERE}:made_by_hand", {"units": 4}, loss="mse").get_config()
    with pytest.raises(ConfigError, match="is not allowed at this site"):
        TensorflowModel.from_config(config)


def test_a_factory_gets_the_arguments_of_the_config(allowed: None) -> None:
    config = TensorflowModel.from_factory(f"{HERE}:made_by_hand", {"units": 4}, loss="mse").get_config()
    assert TensorflowModel.from_config(json.loads(json.dumps(config))).get_weights().layout.specs[0].shape == (3, 4)


def test_a_factory_may_give_the_loss_too(allowed: None) -> None:
    config = json.loads(json.dumps(TensorflowModel.from_factory(f"{HERE}:made_with_loss").get_config()))
    assert "loss" not in config
    model = TensorflowModel.from_config(config)
    assert model.get_config() == config
    # Huber's loss beyond its delta of a half is delta·(error - delta / 2)
    assert model.loss_function(np.array([2.0]), np.zeros((1, 1), np.float32)).tolist() == [0.875]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": {}}, "tensorflow: a model is given by 'architecture' or by 'factory', and here are both"),
        ({"factory": None}, "and here are neither"),
        ({"kwargs": {}, "factory": None, "architecture": {}}, "tensorflow: 'kwargs' are arguments of a factory"),
        ({}, "made_by_hand: no loss"),
        ({"factory": f"{HERE}:made_with_loss", "loss": "mse"}, "made_with_loss: two losses"),
        ({"factory": f"{HERE}:made_of_nothing"}, "made_of_nothing gave int where a keras.Model is needed"),
        ({"bufers": "local"}, "tensorflow: unknown option 'bufers'; did you mean 'buffers'"),
    ],
)
def test_a_config_that_lacks_something_is_told_in_words(allowed: None, config: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        TensorflowModel.from_config({"factory": f"{HERE}:made_by_hand", **config})


def test_an_architecture_without_a_loss_is_told_in_words() -> None:
    config = {"architecture": model_of("mlp").get_config()["architecture"]}
    with pytest.raises(ConfigError, match="tensorflow: option 'loss' is missing"):
        TensorflowModel.from_config(config)


def test_names_do_not_depend_on_what_the_process_made_before(allowed: None) -> None:
    # Given models of one factory and one config, made one after the other, and layers with parts that Keras counts
    by_factory = [TensorflowModel.from_factory(f"{HERE}:made_by_hand", loss="mse") for _ in range(2)]
    config = TensorflowModel(sequential(Scale(), Scale(), shape=(2,)), "mse").get_config()
    by_config = [TensorflowModel.from_config(config) for _ in range(2)]
    # Then they name their weights alike
    assert by_factory[0].get_weights().layout.names == ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias")
    for first, second in (by_factory, by_config):
        assert first.get_weights().layout == second.get_weights().layout


def test_a_subclassed_model_of_a_factory_learns(allowed: None) -> None:
    model = TensorflowModel.from_config(TensorflowModel.from_factory(f"{HERE}:plain", loss=LOGITS).get_config())
    model.initialize(DataInfo(9, 4, (0, 4), (0, 1)))
    batch = Batch(np.ones((5, 4)), np.ones(5, np.int64))
    before = model.loss_function(batch.y, model.forward(batch)).mean()
    Optimizer(0.1).run_train_step(model, batch)
    assert model.loss_function(batch.y, model.forward(batch)).mean() < before
