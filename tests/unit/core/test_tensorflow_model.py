"""Keras models: weights and their roles, configs, labels, predictions, and what people are told."""

import json
import threading
from typing import Any

import keras
import numpy as np
import pytest

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.device import DevicePolicy
from fl.core.layout import Role
from fl.core.model import Model, doors
from fl.core.model.tensorflow import TensorflowModel
from fl.core.optimizer import Optimizer
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError, DataError, ModelError
from tests.unit.core import tensorflow_zoo as zoo
from tests.unit.core.tensorflow_zoo import LOGITS, ZOO, BatchLoss, Plain, Scale, Stranger, model_of, sequential

layers = keras.layers
HERE = "tests.unit.core.tensorflow_zoo"


def numbers(model: TensorflowModel, *roles: Role) -> dict[str, Array]:
    vector = model.get_weights()
    return (vector.select(*roles) if roles else vector).to_numpy().arrays()


@pytest.fixture
def allowed() -> Any:
    before = doors.get_doors()
    doors.set_doors(doors.Doors(factories=(f"{HERE}:*",)))
    yield
    doors.set_doors(before)


# --- weights


@pytest.mark.parametrize(("buffers", "role"), [("average", Role.BUFFER), ("local", Role.FIXED), ("frozen", Role.FIXED)])
def test_statistics_have_the_role_that_their_policy_gives_them(buffers: Any, role: Role) -> None:
    model = ZOO["batch norm"].model(buffers=buffers)
    roles = {spec.name: spec.role for spec in model.get_weights().layout.specs}
    assert roles["norm/moving_mean"] == roles["norm/moving_variance"] == role
    assert roles["norm/gamma"] == Role.TRAINABLE


def test_everything_in_a_frozen_layer_is_fixed() -> None:
    model = model_of("frozen base")
    fixed, trainable = numbers(model, Role.FIXED), model.get_weights(trainable=True).layout
    assert len(fixed) == 6
    assert [spec.shape for spec in trainable.specs] == [(5, 3), (3,)]


@pytest.mark.parametrize("role", [Role.TRAINABLE, Role.BUFFER])
def test_weights_of_one_role_leave_the_others_alone(role: Role) -> None:
    model = model_of("batch norm")
    before = numbers(model)
    part = model.get_weights().select(role)
    model.set_weights(part + 1.0)
    for name, array in numbers(model).items():
        np.testing.assert_allclose(array, before[name] + (1.0 if name in part.layout.names else 0.0), rtol=1e-6)


def test_weights_that_are_read_do_not_change_with_the_model() -> None:
    model = model_of("mlp")
    weights = model.get_weights()
    before = weights.to_numpy().copy()
    Optimizer(0.1).run_train_step(model, ZOO["mlp"].batch())
    assert weights.to_numpy() == before


def test_weights_that_are_not_the_trainable_ones_are_refused_where_those_are_meant() -> None:
    model = model_of("batch norm")
    with pytest.raises(ValueError, match="norm/moving_mean"):
        model.set_weights(model.get_weights(), trainable=True)


def test_local_statistics_are_the_models_state() -> None:
    # Given a site whose statistics moved
    case = ZOO["batch norm"]
    model, other = case.model(buffers="local"), case.model(buffers="local")
    model.compute_batch_gradients(case.batch())
    # When another model goes on from its state
    other.set_state(model.get_state())
    # Then it has those statistics, and no other weight
    np.testing.assert_array_equal(numbers(other)["norm/moving_mean"], numbers(model)["norm/moving_mean"])
    assert not np.array_equal(other.get_weights(trainable=True).flat, model.get_weights(trainable=True).flat)


@pytest.mark.parametrize("buffers", ["average", "frozen"])
def test_other_policies_leave_a_model_no_state(buffers: Any) -> None:
    model = ZOO["batch norm"].model(buffers=buffers)
    assert model.get_state() == {}
    with pytest.raises(ValueError, match="not that of this tensorflow model"):
        model.set_state({"buffers": model.get_weights()})


def test_names_do_not_depend_on_what_the_process_made_before(allowed: None) -> None:
    # Given models of one factory and one config, made one after the other, and layers with parts that Keras counts
    by_factory = [TensorflowModel.from_factory(f"{HERE}:made_by_hand", loss="mse") for _ in range(2)]
    config = TensorflowModel(sequential(Scale(), Scale(), shape=(2,)), "mse").get_config()
    by_config = [TensorflowModel.from_config(config) for _ in range(2)]
    # Then they name their weights alike
    assert by_factory[0].get_weights().layout.names == ("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias")
    for first, second in (by_factory, by_config):
        assert first.get_weights().layout == second.get_weights().layout


def test_a_model_that_is_given_stays_as_it_is() -> None:
    # Given a compiled model and a loss
    original, loss = zoo.batch_norm(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    original.compile("adam", loss)
    before, config = [array.copy() for array in original.get_weights()], loss.get_config()
    # When a copy of it learns
    model = TensorflowModel(original, loss, buffers="frozen")
    Optimizer(0.1).run_train_step(model, ZOO["batch norm"].batch())
    # Then nothing about it changed
    assert all(map(np.array_equal, original.get_weights(), before))
    assert all(variable.trainable for variable in original.trainable_weights)
    assert original.layers[1].trainable
    assert loss.get_config() == config


def test_a_model_with_weights_lends_them() -> None:
    original = zoo.mlp()
    for ours, theirs in zip(
        TensorflowModel(original, LOGITS).to_keras().get_weights(), original.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_an_unbuilt_model_gets_its_weights_from_the_data_info() -> None:
    model = TensorflowModel(keras.Sequential([layers.Dense(2), layers.Dense(1)]), "mse")
    with pytest.raises(ModelError, match="call initialize"):
        model.get_weights()
    model.initialize(DataInfo(9, 3, (0, 3)))
    assert [spec.shape for spec in model.get_weights().layout.specs] == [(3, 2), (2,), (2, 1), (1,)]


def test_an_unbuilt_model_without_an_input_shape_is_told_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"keras\.Input"):
        TensorflowModel(keras.Sequential([layers.Dense(2)]), "mse").initialize(DataInfo(9, 3))


def test_a_subclassed_model_of_a_factory_learns(allowed: None) -> None:
    model = TensorflowModel.from_config(TensorflowModel.from_factory(f"{HERE}:plain", loss=LOGITS).get_config())
    model.initialize(DataInfo(9, 4, (0, 4), (0, 1)))
    batch = Batch(np.ones((5, 4)), np.ones(5, np.int64))
    before = model.loss_function(batch.y, model.forward(batch)).mean()
    Optimizer(0.1).run_train_step(model, batch)
    assert model.loss_function(batch.y, model.forward(batch)).mean() < before


# --- configs


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


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed"])
def test_dtypes_that_are_no_vector_are_refused_with_advice(dtype: str) -> None:
    first, second = (dtype, dtype) if dtype == "bfloat16" else ("float64", "float32")
    model = sequential(layers.Dense(2, dtype=first), layers.Dense(1, dtype=second), shape=(3,))
    with pytest.raises(ModelError, match="dtype policy"):
        TensorflowModel(model, "mse")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_half_and_keeps_weights_in_full(policy: str) -> None:
    model = TensorflowModel(sequential(layers.Dense(2, dtype=policy), layers.Dense(1, dtype=policy), shape=(3,)), "mse")
    batch = Batch(np.ones((4, 3)), np.ones(4))
    assert model.forward(batch).dtype == policy.removeprefix("mixed_")
    assert model.compute_batch_gradients(batch).layout.float_dtype == "float32"
    assert model.loss_function(batch.y, model.forward(batch)).dtype == np.float32
    assert model.to_predictions(model.forward(batch)).shape == (4,)


# --- what fits and what does not


def test_samples_of_another_shape_than_the_models_are_a_model_error_that_names_both() -> None:
    with pytest.raises(ModelError, match=r"takes samples of shape \(4,\), but those of the data have shape \(7,\)"):
        ZOO["mlp"].model().initialize(DataInfo(9, 7, (0, 7)))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ones((2, 5)), r"samples of shape \(5,\) do not fit a model that takes \(4,\)"),
        (np.full((2, 4), np.nan), "NaN or infinite"),
        (np.full((2, 4), "a"), "numbers are needed"),
        ((np.ones((2, 4)), np.ones((2, 4))), "takes 1 inputs a sample, but these samples have 2"),
    ],
)
def test_samples_that_do_not_fit_are_a_data_error_in_words(x: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        model_of("mlp").compute_batch_gradients(Batch(x, np.zeros(2, np.int64)))


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.array([0, 3]), "label 3 is out of range: the model tells 3 classes"),
        (np.array([0, -1]), "label -1 is out of range"),
        (np.array([0.5, 1.0]), "label .*0.5.* is no class"),
        (np.array(["a", "b"]), "expose_classes=True"),
        (np.zeros((2, 2), np.int64), r"targets of shape \(2,\) do not fit outputs of shape \(3,\)"),
        (np.zeros(3, np.int64), "targets of shape"),
        (None, "no target"),
    ],
)
def test_targets_that_do_not_fit_are_a_data_error_in_words(y: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        model_of("mlp").compute_batch_gradients(Batch(np.ones((2, 4)), y))


def test_one_hot_targets_are_made_of_labels_and_taken_as_they_are() -> None:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model, sparse = TensorflowModel(zoo.mlp(), loss), ZOO["mlp"].batch()
    raw = model.forward(sparse)
    np.testing.assert_allclose(
        model.loss_function(sparse.y, raw), model.loss_function(np.eye(3)[sparse.y], raw), rtol=1e-6
    )


def test_two_labels_in_words_are_the_two_sides_of_a_hinge_loss() -> None:
    model = TensorflowModel(sequential(layers.Dense(1, activation="sigmoid"), shape=(4,)), "hinge")
    raw = model.forward(Batch(np.eye(4)))
    expected = model.loss_function(np.array([0, 1, 1, 0]), raw)
    model.initialize(DataInfo(9, 4, (0, 4), ("no", "yes")))
    np.testing.assert_allclose(model.loss_function(np.array(["no", "yes", "yes", "no"]), raw), expected)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_output_is_compared_with_its_own_target_only(shape: tuple[int, ...]) -> None:
    model = TensorflowModel(sequential(layers.Dense(1), shape=(4,)), "mse")
    losses = model.loss_function(np.arange(5.0).reshape(shape), model.forward(Batch(np.zeros((5, 4)))))
    np.testing.assert_allclose(losses, np.arange(5.0) ** 2)


def test_a_loss_of_a_whole_batch_is_refused() -> None:
    with pytest.raises(ModelError, match="one for each sample"):
        TensorflowModel(sequential(layers.Dense(2), shape=(4,)), BatchLoss()).compute_batch_gradients(
            Batch(np.ones((3, 4)), np.ones((3, 2)))
        )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(keras.losses.Huber(delta=0.5), 0.5 * (3 - 0.25)), (keras.losses.BinaryFocalCrossentropy(gamma=0.0), np.log(2))],
)
def test_the_options_of_a_loss_reach_every_site(loss: Any, expected: float) -> None:
    # Keras leaves Huber's delta out of its config
    config = TensorflowModel(sequential(layers.Dense(1), shape=(4,)), loss).get_config()
    model = TensorflowModel.from_config(json.loads(json.dumps(config)))
    y, raw = (3, 0.0) if isinstance(loss, keras.losses.Huber) else (1, 0.5)
    np.testing.assert_allclose(model.loss_function(np.array([y]), np.array([[raw]], np.float32)), expected, rtol=1e-5)


def test_a_loss_nobody_knows_is_refused() -> None:
    with pytest.raises(ModelError, match="none of Keras's"):
        TensorflowModel(zoo.mlp(), "sparse_catgorical")


def test_a_loss_over_steps_is_the_mean_over_those_that_are_not_masked() -> None:
    # Given a model that tells something of every step, and samples padded after two
    steps = sequential(layers.Masking(), layers.LSTM(2, return_sequences=True), layers.Dense(1), shape=(4, 2))
    model = TensorflowModel(steps, "mse")
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    x[:, 2:] = 0
    raw = model.forward(Batch(x))
    # Then only those two count
    expected = np.square(np.asarray(raw)[:, :2, 0]).mean(axis=1)
    np.testing.assert_allclose(model.loss_function(np.zeros((3, 4, 1)), raw), expected, rtol=1e-5)


def test_several_outputs_are_refused() -> None:
    x = keras.Input((3,))
    with pytest.raises(ModelError, match="several outputs"):
        TensorflowModel(keras.Model(x, [layers.Dense(1)(x), layers.Dense(1)(x)]), "mse")


def test_inputs_may_come_by_name_or_in_order() -> None:
    model, batch = model_of("two inputs"), ZOO["two inputs"].batch()
    named = Batch({"right": batch.x[1], "left": batch.x[0]})
    np.testing.assert_array_equal(model.forward(named), model.forward(batch))
    with pytest.raises(DataError, match="inputs are named left, right, but the samples have left, wrong"):
        model.forward(Batch({"left": batch.x[0], "wrong": batch.x[1]}))


# --- predictions, devices, threads


@pytest.mark.parametrize(
    ("loss", "raw", "expected"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), [[0.0], [np.log(3)]], [0.5, 0.75]),
        (keras.losses.BinaryCrossentropy(), [[0.25], [0.75]], [0.25, 0.75]),
        ("hinge", [[0.0], [np.log(3)]], [0.5, 0.75]),
        (LOGITS, [[0.0, np.log(3)]], [[0.25, 0.75]]),
        (keras.losses.CategoricalCrossentropy(), [[0.25, 0.75]], [[0.25, 0.75]]),
        ("mse", [[3.0], [4.0]], [3.0, 4.0]),
        ("mae", [[3.0, 4.0]], [[3.0, 4.0]]),
    ],
)
def test_predictions_are_probabilities_scores_or_values(loss: Any, raw: Any, expected: Any) -> None:
    model = TensorflowModel(sequential(layers.Dense(len(raw[0])), shape=(4,)), loss)
    np.testing.assert_allclose(model.to_predictions(np.asarray(raw)), expected, rtol=1e-6)


def test_a_gpu_that_is_not_there_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="sees no GPU of idx=7"):
        ZOO["mlp"].model().update_device_policy(DevicePolicy(gpu=True, idx=7))


def test_moving_a_model_keeps_its_weights() -> None:
    model, batch = ZOO["batch norm"].model(), ZOO["batch norm"].batch()
    before, raw = model.get_weights().to_numpy(), np.asarray(model.forward(batch))
    model._device = "elsewhere"
    model.update_device_policy(DevicePolicy(gpu=False))
    assert model.get_weights().to_numpy() == before
    np.testing.assert_allclose(model.forward(batch), raw, rtol=1e-6)


def test_models_in_several_threads_learn_as_they_do_alone() -> None:
    # Given what each model comes to alone
    config, case = model_of("dropout").get_config(), ZOO["dropout"]
    start = model_of("dropout").get_weights().to_numpy()

    def learn(seed: int) -> NumpyVector:
        model = TensorflowModel.from_config(config)
        model.set_weights(NumpyVector(model.get_weights().layout, start.flat))
        model.start_round(np.random.default_rng(seed))
        for number in range(10):
            Optimizer(0.1).run_train_step(model, case.batch(number))
        return model.get_weights().to_numpy()

    alone = [learn(seed) for seed in range(2)]
    # When they learn at the same time
    together: dict[int, NumpyVector] = {}
    threads = [threading.Thread(target=lambda seed=seed: together.update({seed: learn(seed)})) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then they come to the same
    assert [together[seed] for seed in range(2)] == alone
