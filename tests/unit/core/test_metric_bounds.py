"""How much one sample adds to a metric's state at most, and what a metric makes of states that noise was added to."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.metrics import Metric, MetricSet
from fl.core.metrics.mean import WeightedMean
from fl.core.vector import Array

LOSS = 3.0
LABELS = [0, 1, 2]
BOUNDED: dict[str, Any] = {
    "loss": {},
    "binary-classif": {"thresh": 0.3},
    "binary-roc": {"scale": 0.25},
    "multi-classif": {"labels": LABELS},
    "confusion": {"labels": LABELS},
    "log-loss": {"labels": LABELS},
    "top-k-accuracy": {"k": 2},
}
"""Every metric that noise can hide a sample in; a new one is a line here and held to the laws below."""
RANGES = {"loss": (-np.inf, np.inf), "log-loss": (0.0, 36.1), "confusion": (0.0, np.inf), "thresh": (-2e6, 2e6)}
"""Of values; from 0 to 1 where there is none."""


def build(name: str) -> Metric:
    metric: Metric = Metric.registry.build((name, BOUNDED[name]))
    return metric


@st.composite
def one_sample(draw: st.DrawFn, name: str) -> tuple[Array, Array, Array]:
    """A sample of weight at most 1 that shall be as odd as it can, as a metric of that name takes it."""
    weight = np.array([draw(st.floats(0.0, 1.0) | st.just(1.0))])
    if name == "loss":
        return np.zeros(1), np.array([draw(st.floats(-LOSS, LOSS))]), weight
    if name.startswith("binary"):
        return np.array([draw(st.integers(0, 1))]), np.array([draw(st.floats())]), weight
    scores = np.array([draw(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))])
    total = scores.sum()
    sure = np.array([np.eye(3)[draw(st.integers(0, 2))]])
    return np.array([draw(st.integers(0, 2))]), (scores / total if total > 1e-3 else sure), weight


@pytest.mark.parametrize("name", BOUNDED)
@given(data=st.data())
def test_no_sample_adds_more_to_a_field_than_its_bound(name: str, data: st.DataObject) -> None:
    metric = build(name)
    metric.update(*data.draw(one_sample(name)))

    bounds, state = metric.bounds(loss=LOSS), metric.get_state()
    assert bounds is not None
    assert bounds.keys() | {"n"} == state.keys()
    for field, bound in bounds.items():
        assert np.linalg.norm(state[field]) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound_is_no_longer_than_what_some_sample_adds(name: str) -> None:
    # Given the samples that add most
    classes = (np.array([0]), np.array([[0.0, 1.0, 0.0]]))
    extremes = {
        "loss": [(np.zeros(1), np.array([LOSS]))],
        "binary-classif": [(np.array([1]), np.array([0.9]))],
        "binary-roc": [(np.array([1]), np.array([0.9])), (np.array([0]), np.array([0.9]))],
    }
    reached: dict[str, float] = {}
    for y_true, y_pred in extremes.get(name, [classes]):
        metric = build(name)
        # When each is measured alone
        metric.update(y_true, y_pred)
        for field, value in metric.get_state().items():
            reached[field] = max(reached.get(field, 0.0), float(np.linalg.norm(value)))
    # Then
    bounds = build(name).bounds(loss=LOSS)
    assert {field: reached[field] for field in bounds or {}} == pytest.approx(bounds)


@pytest.mark.parametrize("name", ["mse", "mae", "r2"])
def test_errors_of_numbers_have_no_bound(name: str) -> None:
    assert Metric.registry.build(name).bounds(loss=LOSS) is None


def test_every_metric_either_has_bounds_or_says_that_it_has_none() -> None:
    ours = set(filter(Metric.registry.is_builtin, Metric.registry.names()))

    assert ours == {*BOUNDED, "mse", "mae", "r2"}


def test_a_set_has_the_bounds_of_those_that_have_some() -> None:
    metrics = MetricSet.from_specs(["mse", "binary-classif", "loss"])

    assert metrics.bounds(loss=LOSS) == {"binary-classif/confusion": 1.0, "loss/total": LOSS, "loss/weight": 1.0}


@pytest.mark.parametrize("name", BOUNDED)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 50), std=st.sampled_from([0.1, 3.0, 100.0]))
def test_a_state_with_noise_amounts_to_values_in_their_ranges(name: str, seed: int, n: int, std: float) -> None:
    # Given a state of some samples, to which noise was added that may be more than they are
    rng, metric = np.random.default_rng(seed), build(name)
    y_true = rng.integers(0, 2, n)
    y_pred = rng.dirichlet(np.ones(3), n) if BOUNDED[name].keys() & {"labels", "k"} else rng.random(n)
    metric.update(y_true, y_pred)
    noisy = {key: value + std * rng.normal(size=value.shape) for key, value in metric.get_state().items()}
    noisy["n"] = np.asarray(float(n))
    # When
    values = metric.compute(noisy)
    # Then
    for key, value in values.items():
        low, high = RANGES.get(key, (0.0, 1.0))
        assert np.all(np.isfinite(value)), key
        assert np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)), key
    for curve in ("tpr", "fpr"):
        assert np.all(np.diff(values.get(curve, np.zeros(0))) >= 0)


def test_noise_averages_out_in_an_accuracy_of_many_classes() -> None:
    # Given 20 classes, so that most cells of the matrix hold nobody and noise
    metric = Metric.registry.build(("multi-classif", {"labels": list(range(20))}))
    y_true = np.random.default_rng(0).integers(0, 20, 5000)
    metric.update(y_true, np.where(np.arange(5000) % 4, y_true, (y_true + 1) % 20))
    noise = np.random.default_rng(1).normal(size=(20, 20)) * 10.0
    # When
    values = metric.compute({"n": np.asarray(5000.0), "confusion": metric.get_state()["confusion"] + noise})
    # Then: cutting off negative cells first would give 0.57
    assert values["accuracy"] == pytest.approx(0.75, abs=0.1)


def test_a_mean_of_values_that_nobody_bounds_has_no_bounds() -> None:
    class Lengths(WeightedMean, register=False):
        name = "lengths"

        def values(self, y_true: Array, y_pred: Array) -> Array:
            return np.asarray(np.abs(y_true - y_pred))

    assert Lengths().bounds(loss=1.0) is None
