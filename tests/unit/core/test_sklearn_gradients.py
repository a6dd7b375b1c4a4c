"""Gradients of the linear models against scikit-learn's own steps, finite differences and clipping done by hand."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fl.core.data_info import DataInfo
from fl.core.dataset import Batch
from fl.core.model import linear
from fl.core.model.losses import CLASSIFICATION, REGRESSION
from fl.core.model.parameters import Kind, Penalty
from fl.core.model.sklearn import SklearnSGDModel
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError
from tests.unit.core.sgd_oracle import batch_mean

PENALTIES: list[Penalty | None] = ["l2", "l1", "elasticnet", None]
TASKS = {"regression": None, "binary": ("no", "yes"), "multi-class": (3, 5, 9, 11)}
BOTH = list(product(TASKS, PENALTIES))
FEATURES, SAMPLES = 5, 12
CASES = [
    (task, loss, penalty)
    for task, penalty in product(TASKS, PENALTIES)
    for loss in (REGRESSION if task == "regression" else CLASSIFICATION)
]


def data(task: str, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, FEATURES)) * (rng.random((SAMPLES, FEATURES)) < 0.7)
    classes = TASKS[task]
    y = rng.normal(size=SAMPLES) if classes is None else np.asarray(classes)[rng.integers(len(classes), size=SAMPLES)]
    return Batch(x, y)


def model(task: str, loss: str, penalty: Penalty | None, **options: Any) -> SklearnSGDModel:
    """A model whose weights are small enough for L1 to cut some at zero, one of them being zero already."""
    kind: Kind = "regressor" if task == "regression" else "classifier"
    made = SklearnSGDModel.from_parameters(kind, loss, penalty, **{"alpha": 0.3, **options})
    made.initialize(DataInfo(SAMPLES, FEATURES, classes=TASKS[task]))
    weights = made.get_weights()
    weights.flat[...] = np.random.default_rng(1).normal(scale=0.5, size=weights.flat.size)
    weights.flat[0] = 0.0
    made.set_weights(weights)
    return made


def expected(of: SklearnSGDModel, batch: Batch, **options: Any) -> dict[str, Array]:
    return batch_mean(of.params, of.get_weights().arrays(), batch.x, batch.y, classes=of.classes, **options)


def check(gradient: NumpyVector, oracle: dict[str, Array], rtol: float = 1e-9) -> None:
    for name, array in gradient.arrays().items():
        np.testing.assert_allclose(array, oracle[name], rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("task", "loss", "penalty"), CASES)
def test_a_gradient_is_the_mean_of_scikit_learns_steps(task: str, loss: str, penalty: Penalty | None) -> None:
    made, batch = model(task, loss, penalty), data(task)
    check(made.compute_batch_gradients(batch), expected(made, batch))


@pytest.mark.parametrize(("task", "penalty"), BOTH)
def test_sparse_data_has_the_gradient_of_the_same_data_dense(task: str, penalty: Penalty | None) -> None:
    made, batch = model(task, "squared_error", penalty), data(task)
    sparse = batch._replace(x=scipy.sparse.csr_matrix(batch.x))
    for max_norm in (None, 0.5):
        dense = made.compute_batch_gradients(batch, max_norm)
        np.testing.assert_allclose(made.compute_batch_gradients(sparse, max_norm).flat, dense.flat, rtol=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_scikit_learns_steps_on_sparse_samples_without_zeros_differ_by_the_intercepts_factor_only(
    penalty: Penalty | None,
) -> None:
    made = model("regression", "squared_error", penalty)
    batch = data("regression")
    batch = batch._replace(x=scipy.sparse.csr_matrix(np.where(batch.x == 0, 1.0, batch.x)))
    oracle = expected(made, batch)
    oracle["intercept"] = oracle["intercept"] / 0.01
    check(made.compute_batch_gradients(batch), oracle)


@pytest.mark.parametrize("task", TASKS)
def test_sample_weights_multiply_each_step(task: str) -> None:
    made, batch = model(task, "squared_error", "elasticnet"), data(task)
    weights = np.random.default_rng(2).random(SAMPLES) * 3
    gradient = made.compute_batch_gradients(batch._replace(weights=weights))
    check(gradient, expected(made, batch, sample_weights=weights))


@pytest.mark.parametrize(("task", "penalty"), BOTH)
def test_a_model_without_intercept_leaves_it_alone(task: str, penalty: Penalty | None) -> None:
    made, batch = model(task, "huber", penalty, fit_intercept=False), data(task)
    gradient = made.compute_batch_gradients(batch)
    check(gradient, expected(made, batch))
    assert not gradient.arrays()["intercept"].any()
    assert not made.compute_batch_gradients(batch, 0.1).arrays()["intercept"].any()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_float32_model_has_float32_gradients(penalty: Penalty | None) -> None:
    made, batch = model("multi-class", "log_loss", penalty, dtype="float32"), data("multi-class")
    gradient = made.compute_batch_gradients(batch)
    assert gradient.flat.dtype == np.float32
    check(gradient, expected(model("multi-class", "log_loss", penalty), batch), rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 7.0])
def test_a_decay_beyond_the_weights_stops_at_zero_as_scikit_learns_does(alpha: float) -> None:
    made, batch = model("regression", "huber", "l2", alpha=alpha), data("regression")
    check(made.compute_batch_gradients(batch), expected(made, batch))


def test_a_slope_is_bounded_as_scikit_learns_is() -> None:
    made = model("regression", "squared_error", None)
    batch = Batch(np.ones((1, FEATURES)), np.array([-1e15]))
    check(made.compute_batch_gradients(batch), expected(made, batch))


@pytest.mark.parametrize("loss", CLASSIFICATION)
@pytest.mark.parametrize("task", ["binary", "multi-class"])
def test_the_loss_has_the_gradient_that_finite_differences_see(task: str, loss: str) -> None:
    # Given weights of general position, where every loss is smooth
    made, batch = model(task, loss, None), data(task)
    assert batch.y is not None
    gradient, start = made.compute_batch_gradients(batch), made.get_weights()
    # When each weight is moved a little to both sides
    numeric, h = np.zeros_like(gradient.flat), 1e-6
    for i in range(numeric.size):
        losses = []
        for step in (h, -h):
            moved = start.copy()
            moved.flat[i] += step
            made.set_weights(moved)
            losses.append(made.loss_function(batch.y, made.forward(batch)).mean())
        numeric[i] = (losses[0] - losses[1]) / (2 * h)
    # Then the mean loss changes as the gradient says
    np.testing.assert_allclose(gradient.flat, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize(("task", "penalty"), BOTH)
def test_clipping_bounds_each_weighted_samples_gradient(task: str, penalty: Penalty | None, per_tensor: bool) -> None:
    # Given gradients of single samples, some longer than the bound and some shorter
    made, batch = model(task, "squared_error", penalty), data(task)
    batch = batch._replace(weights=np.linspace(0.05, 3.0, SAMPLES))
    assert batch.y is not None
    assert batch.weights is not None
    singles = [
        made.compute_batch_gradients(Batch(batch.x[i : i + 1], batch.y[i : i + 1], batch.weights[i : i + 1])).arrays()
        for i in range(SAMPLES)
    ]
    # When each is clipped by hand
    bound = 1.0
    for single in singles:
        norm = np.sqrt(sum((array**2).sum() for array in single.values()))
        for name, array in single.items():
            single[name] = array * min(1.0, bound / (np.linalg.norm(array) if per_tensor else norm))
    # Then their mean is the clipped gradient
    means = {name: np.mean([single[name] for single in singles], axis=0) for name in singles[0]}
    check(made.compute_batch_gradients(batch, bound, per_tensor=per_tensor), means)


def test_a_gradient_within_the_bound_is_not_changed_by_clipping() -> None:
    made, batch = model("multi-class", "log_loss", "elasticnet"), data("multi-class")
    free, clipped = made.compute_batch_gradients(batch), made.compute_batch_gradients(batch, 1e6)
    np.testing.assert_allclose(clipped.flat, free.flat, rtol=1e-12)


@pytest.mark.parametrize("max_norm", [None, 0.5])
def test_samples_taken_in_several_parts_give_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch, max_norm: float | None
) -> None:
    made, batch = model("multi-class", "hinge", "l1"), data("multi-class")
    whole = made.compute_batch_gradients(batch, max_norm)
    monkeypatch.setattr(linear, "SAMPLE_GRADIENT_ELEMENTS", 5 * FEATURES * 4)
    np.testing.assert_allclose(made.compute_batch_gradients(batch, max_norm).flat, whole.flat, rtol=1e-12)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_no_bound_is_refused(max_norm: float) -> None:
    with pytest.raises(ConfigError, match="norm above 0"):
        model("binary", "hinge", None).compute_batch_gradients(data("binary"), max_norm)


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("task", TASKS)
def test_an_empty_batch_has_no_gradient(task: str, max_norm: float | None) -> None:
    made, batch = model(task, "squared_error", "l2"), data(task)
    assert batch.y is not None
    empty = Batch(batch.x[:0], batch.y[:0])
    assert not made.compute_batch_gradients(empty, max_norm).flat.any()
