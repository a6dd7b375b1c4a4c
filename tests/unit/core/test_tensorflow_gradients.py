"""Gradients of Keras models: against finite differences of Keras's own losses, loops over samples, and plain SGD."""

from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch, Batching, InMemoryDataset
from fl.core.metrics import MetricSet
from fl.core.model.tensorflow import TensorflowModel, steps
from fl.core.optimizer import Optimizer
from fl.core.training import Effort, evaluate_round, train_round
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError, DataError, ModelError
from tests.unit.core import tensorflow_zoo as zoo
from tests.unit.core.tensorflow_zoo import ZOO, Case, as_float64, model_of

CLIPPABLE = ["mlp", "cnn", "embedding", "lstm", "attention", "frozen base", "regularized", "two inputs"]


def keras_loss(case: Case, model: Any, batch: Batch) -> float:
    """The mean loss and penalties, by Keras's layers and the loss's formula, in float64."""
    loss = keras.losses.get(case.loss)
    x = [keras.ops.convert_to_tensor(part) for part in batch.x] if isinstance(batch.x, tuple) else batch.x
    raw = model(x, training=True)
    y = np.asarray(batch.y)
    if isinstance(loss, keras.losses.CategoricalCrossentropy):
        y = np.eye(raw.shape[-1])[y]
    elif not isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        y = y.astype("float64").reshape(-1, 1)
    losses = np.asarray(loss.call(y, raw) if isinstance(loss, keras.losses.Loss) else loss(y, raw))
    weights = np.ones(len(y)) if batch.weights is None else batch.weights
    return float(np.mean(losses * weights) + sum(np.asarray(penalty) for penalty in model.losses))


def slope(case: Case, model: TensorflowModel, batch: Batch, direction: Array, h: float = 1e-5) -> float:
    """Central difference of the loss along a direction of the trainable weights."""
    start, values = model.get_weights(trainable=True).to_numpy(), []
    for sign in (1, -1):
        model.set_weights(NumpyVector(start.layout, start.flat + sign * h * direction), trainable=True)
        values.append(keras_loss(case, model.to_keras(), batch))
    model.set_weights(start, trainable=True)
    return (values[0] - values[1]) / (2 * h)


def rows(batch: Batch, index: slice | Array) -> Batch:
    x = tuple(part[index] for part in batch.x) if isinstance(batch.x, tuple) else batch.x[index]
    return Batch(x, batch.y[index], None if batch.weights is None else batch.weights[index])


@pytest.mark.parametrize(
    ("name", "weighted"),
    [*((name, False) for name in ZOO if name != "dropout"), ("lstm", True), ("regularized", True)],
)
def test_a_gradient_is_the_slope_that_finite_differences_see(name: str, weighted: bool) -> None:
    # Given a model in float64
    case, model = as_float64(ZOO[name]), model_of(name, double=True)
    batch = case.batch(weighted=weighted)
    # When its loss is differentiated along a random direction
    gradient = model.compute_batch_gradients(batch).to_numpy().flat
    direction = np.random.default_rng(0).normal(size=gradient.size)
    numeric = slope(case, model, batch, direction)
    # Then that is the gradient's part in it
    np.testing.assert_allclose(gradient @ direction, numeric, rtol=1e-5, atol=1e-7)


def test_frozen_statistics_are_what_batch_norm_computes_with_in_training() -> None:
    # Given statistics that are not those of the batch
    case = as_float64(ZOO["batch norm"])
    model, batch = case.model(buffers="frozen"), case.batch()
    before = model.get_weights()
    # When gradients are computed, of a batch and of its samples alone
    whole = model.compute_batch_gradients(batch)
    singles = [model.compute_batch_gradients(rows(batch, slice(i, i + 1))) for i in range(zoo.N)]
    # Then no sample's gradient depends on the others, scales and offsets have one, and no statistic moved
    np.testing.assert_allclose(whole.flat, np.mean([single.flat for single in singles], axis=0), rtol=1e-9)
    assert np.asarray(whole.arrays()["norm/gamma"]).any()
    assert model.get_weights().to_numpy() == before.to_numpy()


@pytest.mark.parametrize("buffers", ["average", "local"])
def test_running_a_model_to_learn_moves_its_statistics(buffers: Any) -> None:
    model, batch = ZOO["batch norm"].model(buffers=buffers), ZOO["batch norm"].batch()
    before = model.get_weights().arrays()
    model.compute_batch_gradients(batch)
    after = model.get_weights().arrays()
    changed = {name for name in before if (np.asarray(before[name]) != np.asarray(after[name])).any()}
    assert changed == {"norm/moving_mean", "norm/moving_variance"}


@pytest.mark.parametrize(
    ("name", "per_tensor"), [*((name, False) for name in CLIPPABLE), ("mlp", True), ("lstm", True)]
)
def test_clipping_bounds_each_weighted_samples_gradient(
    monkeypatch: pytest.MonkeyPatch, name: str, per_tensor: bool
) -> None:
    # Given gradients of single samples, and room for two of them at a time
    model, batch = model_of(name, double=True), ZOO[name].batch(weighted=True)
    monkeypatch.setattr(steps, "SAMPLE_GRADIENT_ELEMENTS", 2 * model.get_weights(trainable=True).layout.size)
    singles = [model.compute_batch_gradients(rows(batch, slice(i, i + 1))).to_numpy() for i in range(zoo.N)]
    bound = float(np.median([single.norm() for single in singles])) * (0.5 if per_tensor else 1.0)
    # When each is clipped by hand
    for single in singles:
        norm = single.norm()
        for array in single.arrays().values():
            array[...] = array * min(1.0, bound / max(np.linalg.norm(array) if per_tensor else norm, 1e-300))
    # Then their mean is the clipped gradient
    clipped = model.compute_batch_gradients(batch, bound, per_tensor=per_tensor).to_numpy()
    np.testing.assert_allclose(clipped.flat, np.mean([single.flat for single in singles], axis=0), rtol=1e-7, atol=1e-9)


def test_clipped_samples_draw_a_dropout_mask_each() -> None:
    # Given twice the same sample
    model, one = model_of("dropout"), rows(ZOO["dropout"].batch(), slice(0, 1))
    twice = Batch(np.repeat(one.x, 2, axis=0), np.repeat(one.y, 2))
    model.start_round(np.random.default_rng(0))
    both = model.compute_batch_gradients(twice, 1e6)
    # When the first is computed alone, from the same state
    model.start_round(np.random.default_rng(0))
    alone = model.compute_batch_gradients(one, 1e6)
    # Then the second was another draw
    assert not np.allclose(both.flat, alone.flat)


def test_layers_that_mix_samples_are_named_where_clipping_is_asked_for() -> None:
    case = ZOO["batch norm"]
    with pytest.raises(ModelError, match=r"layer 'norm' computes with the statistics of the batch"):
        model_of("batch norm").compute_batch_gradients(case.batch(), 1.0)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_no_bound_is_refused(max_norm: float) -> None:
    with pytest.raises(ConfigError, match="norm above 0"):
        model_of("mlp").compute_batch_gradients(ZOO["mlp"].batch(), max_norm)


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("name", ["mlp", "regularized"])
def test_an_empty_batch_has_no_gradient(name: str, max_norm: float | None) -> None:
    model, batch = model_of(name), ZOO[name].batch()
    assert not np.asarray(model.compute_batch_gradients(rows(batch, slice(0, 0)), max_norm).flat).any()


def test_a_weight_that_no_output_depends_on_has_a_gradient_of_zero() -> None:
    # Given a model through one of whose layers no gradient goes
    x = keras.Input((4,))
    blind = keras.ops.stop_gradient(keras.layers.Dense(1, name="blind")(x))
    model = TensorflowModel(keras.Model(x, keras.layers.Dense(1, name="seeing")(x) + blind), "mse")
    gradient = model.compute_batch_gradients(Batch(np.ones((3, 4)), np.ones(3))).arrays()
    assert not np.asarray(gradient["blind/kernel"]).any()
    assert np.asarray(gradient["seeing/kernel"]).any()


@pytest.mark.parametrize("name", ["cnn", "embedding", "batch norm", "regularized"])
def test_steps_are_those_of_kerass_own_sgd(name: str) -> None:
    # Given the same model with Keras's own optimizer
    case = ZOO[name]
    original = case.build()
    model = TensorflowModel(original, case.loss)
    original.compile(keras.optimizers.SGD(0.1), case.loss)
    optimizer = Optimizer(0.1)
    # When both take the same steps
    for seed in range(4):
        batch = case.batch(seed, n=6 - seed % 2, weighted=True)
        original.train_on_batch(batch.x, batch.y.reshape(-1, 1), sample_weight=batch.weights)
        optimizer.run_train_step(model, batch)
    # Then they have the same weights and statistics
    for ours, theirs in zip(model.to_keras().get_weights(), original.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_layer_of_one_output_learns_as_logistic_regression_in_numpy_does() -> None:
    # Given logistic regression by its formula
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.integers(2, size=40)
    w, b = np.zeros(3), 0.0
    built = keras.Sequential(
        [keras.Input((3,), dtype="float64"), keras.layers.Dense(1, kernel_initializer="zeros", dtype="float64")]
    )
    model = TensorflowModel(built, keras.losses.BinaryCrossentropy(from_logits=True))
    model.initialize(DataInfo(40, 3, (0, 3), (0, 1)))
    # When both take steps
    for _ in range(20):
        error = 1 / (1 + np.exp(-(x @ w + b))) - y
        w, b = w - 0.5 * x.T @ error / 40, b - 0.5 * error.mean()
        Optimizer(0.5).run_train_step(model, Batch(x, y))
    # Then they agree on weights and predictions
    np.testing.assert_allclose(model.get_weights().flat, [*w, b], rtol=1e-9)
    np.testing.assert_allclose(model.to_predictions(model.forward(Batch(x))), 1 / (1 + np.exp(-(x @ w + b))), rtol=1e-9)


def test_a_round_done_again_gives_the_same_bits() -> None:
    case, model = ZOO["dropout"], model_of("dropout")
    start = model.get_weights()
    ends = []
    for seed in (7, 7, 8):
        model.set_weights(start)
        model.start_round(np.random.default_rng(seed))
        for number in range(5):
            Optimizer(0.1).run_train_step(model, case.batch(number))
        ends.append(model.get_weights().to_numpy())
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]


def test_dropout_does_not_draw_the_same_mask_in_every_step() -> None:
    model, batch = model_of("dropout"), ZOO["dropout"].batch()
    first, second = (model.compute_batch_gradients(batch).to_numpy() for _ in range(2))
    assert first != second


def count(traced: list[int]) -> Any:
    """A sum that notes each time it is traced."""

    def total(x: Any) -> Any:
        traced.append(1)
        return keras.ops.sum(x)

    return total


def test_batches_of_any_length_need_one_graph() -> None:
    traced: list[int] = []
    graph = steps.Compiled(count(traced), device="CPU:0")
    for n in (1, 5, 6, 32):
        assert graph(np.ones((n, 3))) == 3 * n
    assert traced == [1]


def test_sequences_of_any_length_need_two_graphs() -> None:
    traced: list[int] = []
    graph = steps.Compiled(count(traced), device="CPU:0")
    for length in (3, 5, 4, 9):
        assert graph(np.ones((2, length, 2))) == 4 * length
    assert traced == [1, 1]


def test_constraints_hold_after_an_update() -> None:
    bounded = keras.layers.Dense(1, kernel_constraint="non_neg", use_bias=False)
    model = TensorflowModel(keras.Sequential([keras.Input((3,)), bounded]), "mse")
    weights = model.get_weights(trainable=True)
    model.apply_updates(weights + 1.0)
    assert not np.asarray(model.get_weights().flat).any()


def test_an_update_of_another_layout_is_refused() -> None:
    model = model_of("mlp")
    with pytest.raises(ValueError, match="against other: float32"):
        model.apply_updates(NumpyVector.from_arrays({"other": np.zeros(3, np.float32)}))


@pytest.mark.parametrize("weights", [np.ones(2), np.array([1.0, np.nan] * 3)])
def test_sample_weights_that_are_none_are_refused(weights: Array) -> None:
    batch = ZOO["mlp"].batch()._replace(weights=weights)
    with pytest.raises(DataError, match="sample weights"):
        model_of("mlp").compute_batch_gradients(batch)


def test_a_step_that_xla_compiled_is_the_same_step() -> None:
    case, model = ZOO["mlp"], model_of("mlp")
    compiled = TensorflowModel.from_config({**model.get_config(), "jit_compile": True})
    compiled.set_weights(model.get_weights())
    expected, batch = model.compute_batch_gradients(case.batch()), case.batch()
    np.testing.assert_allclose(compiled.compute_batch_gradients(batch).flat, expected.flat, rtol=1e-5, atol=1e-7)


def test_a_round_on_a_dataset_lowers_its_loss() -> None:
    # Given digits in words, and a model that knows nothing of them
    x, y = load_digits(return_X_y=True)
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    dataset = InMemoryDataset(x / 16, words[y], expose_classes=True)
    model = TensorflowModel(zoo.sequential(keras.layers.Dense(10), shape=(64,)), zoo.LOGITS)
    model.initialize(dataset.get_data_specs())
    metrics = MetricSet.from_specs([("multi-classif", {"labels": words.tolist()})])
    # When it trains for a few epochs
    rng = np.random.default_rng(0)
    train_round(
        model, Optimizer(0.5), dataset, effort=Effort(5), batching=Batching(32, shuffle=True), rng=rng, clock=float
    )
    # Then it tells most of them
    result = evaluate_round(model, metrics, dataset, clock=float)
    assert result.loss_sum / result.weight_sum < 0.4
    confusion = next(value for name, value in result.metrics.items() if "confusion" in name)
    assert np.trace(np.asarray(confusion)) / len(y) > 0.9
