"""Metrics: closed forms, scikit-learn as the oracle, and the law that states of parts add up to the whole's."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fl.core.metrics import Metric, MetricSet
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

SPECS = [
    "mse",
    "mae",
    "loss",
    "r2",
    ("binary-classif", {"thresh": 0.3, "label": 1}),
    "binary-roc",
    ("binary-roc", {"scale": 0.05, "bound": [0.0, 1.0]}),
    ("multi-classif", {"labels": [0, 1, 2]}),
    ("confusion", {"labels": [0, 1, 2]}),
    ("log-loss", {"labels": [0, 1, 2]}),
    ("top-k-accuracy", {"k": 2}),
]
"""A new metric is one line here and one in `samples`, and held to every law below."""

Samples = tuple[Array, Array, Array]


def samples(name: str, n_samples: int, seed: int) -> Samples:
    """`y_true`, `y_pred` and weights such as a metric of that name takes."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, n_samples).astype(float)
    if name.startswith("binary"):
        return rng.integers(0, 2, n_samples), rng.random(n_samples), weights
    if name in {"multi-classif", "confusion", "log-loss", "top-k-accuracy"}:
        return rng.integers(0, 3, n_samples), rng.dirichlet(np.ones(3), n_samples), weights
    return rng.normal(size=n_samples), rng.normal(size=n_samples), weights


def build(spec: Any) -> Metric:
    metric: Metric = Metric.registry.build(spec)
    return metric


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        np.testing.assert_allclose(value, right[key], rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(cuts=st.lists(st.integers(0, 40), max_size=3), seed=st.integers(0, 99))
def test_clients_who_merge_measure_what_one_would_on_all_samples(spec: Any, cuts: list[int], seed: int) -> None:
    # Given one who measures all samples at once
    central = build(spec)
    y_true, y_pred, weights = samples(central.name, 40, seed)
    central.update(y_true, y_pred, weights)
    # When each of several clients measures a part, and some may have none
    federated, edges = build(spec), [0, *sorted(cuts), 40]
    for start, stop in pairwise(edges):
        client = build(spec)
        client.update(y_true[start:stop], y_pred[start:stop], weights[start:stop])
        federated.merge(client.get_state())
    # Then their merged states say the same
    assert_same(federated.result(), central.result())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_batches_add_up_like_clients(spec: Any) -> None:
    whole, parts = build(spec), build(spec)
    y_true, y_pred, weights = samples(whole.name, 10, 0)
    whole.update(y_true, y_pred, weights)
    for part in (slice(0, 3), slice(3, 10)):
        parts.update(y_true[part], y_pred[part], weights[part])
    assert_same(parts.result(), whole.result())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_samples_measure_zero_and_say_so(spec: Any) -> None:
    metric = build(spec)
    y_true, y_pred, _ = samples(metric.name, 0, 0)
    metric.update(y_true, y_pred)
    result = metric.result()
    assert result["n"] == 0
    assert not any(np.any(value) for value in result.values())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_weight_counts_a_sample_that_often(spec: Any) -> None:
    weighted, repeated = build(spec), build(spec)
    y_true, y_pred, weights = samples(weighted.name, 20, 1)
    weighted.update(y_true, y_pred, weights)
    times = weights.astype(int)
    repeated.update(np.repeat(y_true, times, axis=0), np.repeat(y_pred, times, axis=0))
    assert_same({**weighted.result(), "n": 0}, {**repeated.result(), "n": 0})
    assert weighted.result()["n"] == 20


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_metric_that_is_reset_starts_anew(spec: Any) -> None:
    metric = build(spec)
    y_true, y_pred, _ = samples(metric.name, 5, 0)
    metric.update(y_true, y_pred)
    metric.reset()
    assert_same(metric.result(), build(spec).result())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_metric_from_its_config_measures_the_same(spec: Any) -> None:
    metric = build(spec)
    again = build((metric.name, metric.get_config()))
    y_true, y_pred, _ = samples(metric.name, 5, 0)
    metric.update(y_true, y_pred)
    again.update(y_true, y_pred)
    assert_same(again.result(), metric.result())


def test_every_metric_that_exists_is_held_to_these_laws() -> None:
    ours = set(filter(Metric.registry.is_builtin, Metric.registry.names()))  # other tests bring their own

    assert {build(spec).name for spec in SPECS} == ours


@pytest.mark.parametrize(
    ("name", "expected"), [("mse", oracle.mean_squared_error), ("mae", oracle.mean_absolute_error)]
)
def test_errors_are_those_of_scikit_learn(name: str, expected: Any) -> None:
    metric = build(name)
    y_true, y_pred, weights = samples(name, 30, 2)
    metric.update(y_true, y_pred, weights)
    assert metric.result()[name] == pytest.approx(expected(y_true, y_pred, sample_weight=weights))


def test_errors_of_several_outputs_are_their_mean() -> None:
    metric = build("mae")
    metric.update(np.zeros((1, 2)), np.array([[1.0, 3.0]]))
    assert metric.result()["mae"] == 2.0


def test_a_column_of_predictions_is_compared_with_a_row_of_truths() -> None:
    metric = build("mse")
    metric.update([1.0, 2.0], [[1.0], [4.0]])
    assert metric.result()["mse"] == 2.0


@pytest.mark.parametrize(("name", "y_pred"), [("mse", np.zeros((3, 2))), ("mae", np.zeros((3, 3)))])
def test_shapes_that_would_broadcast_are_refused(name: str, y_pred: Array) -> None:
    with pytest.raises(DataError, match=r"true values of shape \(3,\) and predictions of shape"):
        build(name).update(np.zeros(3), y_pred)


def test_an_error_of_text_is_refused() -> None:
    with pytest.raises(DataError, match="measures numbers"):
        build("mse").update(["a"], [1.0])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="3 true values, 2 predictions and 3 weights"):
        build("mse").update(np.zeros(3), np.zeros(2))


def test_binary_scores_are_those_of_scikit_learn() -> None:
    metric = build(("binary-classif", {"thresh": 0.3}))
    y_true, y_pred, weights = samples("binary-classif", 50, 3)
    metric.update(y_true, y_pred, weights)
    predicted = (y_pred > 0.3).astype(int)
    result = metric.result()
    for name, expected in (
        ("accuracy", oracle.accuracy_score),
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("f-score", oracle.f1_score),
        ("confusion", oracle.confusion_matrix),
    ):
        np.testing.assert_allclose(result[name], expected(y_true, predicted, sample_weight=weights), err_msg=name)


def test_accuracy_is_right_without_a_true_positive() -> None:
    metric = build("binary-classif")
    metric.update([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])
    assert metric.result()["accuracy"] == 0.75
    assert metric.result()["f-score"] == 0.0


def test_a_binary_label_may_be_text() -> None:
    metric = build(("binary-classif", {"label": "yes"}))
    metric.update(np.array(["yes", "no"]), [0.9, 0.8])
    assert metric.result()["precision"] == 0.5


def test_a_label_of_another_kind_than_the_truth_is_refused() -> None:
    with pytest.raises(DataError, match="label=1 can be none of the true labels, which are like 'yes'"):
        build("binary-classif").update(np.array(["yes", "no"]), [0.9, 0.8])


def test_scores_of_classes_are_refused_where_a_probability_is_needed() -> None:
    with pytest.raises(DataError, match=r"one value a sample is needed, but they have shape \(2, 3\)"):
        build("binary-classif").update([0, 1], np.zeros((2, 3)))


def test_scores_of_classes_are_those_of_scikit_learn() -> None:
    metric = build(("multi-classif", {"labels": [2, 0, 1]}))
    y_true, y_pred, weights = samples("multi-classif", 50, 4)
    metric.update(y_true, y_pred, weights)
    result, predicted = metric.result(), y_pred.argmax(axis=1)
    for name, expected in (
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("f-score", oracle.f1_score),
    ):
        by_class = expected(y_true, predicted, sample_weight=weights, average=None)
        np.testing.assert_allclose(result[name], by_class, err_msg=name)
    np.testing.assert_allclose(result["accuracy"], oracle.accuracy_score(y_true, predicted, sample_weight=weights))
    np.testing.assert_allclose(result["confusion"], oracle.confusion_matrix(y_true, predicted, sample_weight=weights))


def test_predicted_labels_may_take_the_place_of_scores() -> None:
    metric = build(("multi-classif", {"labels": ["a", "b", "c"]}))
    metric.update(["a", "b", "c"], ["a", "c", "c"])
    assert metric.result()["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("y_true", "y_pred"), [(["d"], ["a"]), (["a"], ["d"])])
def test_a_label_that_is_none_of_the_metrics_is_named(y_true: list[str], y_pred: list[str]) -> None:
    with pytest.raises(DataError, match=r"'d' is none of the labels \['a', 'b', 'c'\]"):
        build(("multi-classif", {"labels": ["a", "b", "c"]})).update(y_true, y_pred)


def test_scores_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(DataError, match="scores of 4 classes"):
        build(("multi-classif", {"labels": [0, 1, 2]})).update([0], np.zeros((1, 4)))


@pytest.mark.parametrize("labels", [[0], [1, 1], [0, "a"]])
def test_labels_that_are_no_classes_are_refused(labels: list[Any]) -> None:
    with pytest.raises(ConfigError, match="give at least two"):
        build(("multi-classif", {"labels": labels}))


def test_a_state_of_other_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="'confusion' has shape"):
        build(("multi-classif", {"labels": [0, 1, 2]})).merge(build(("multi-classif", {"labels": [0, 1]})).get_state())


def test_a_set_of_metrics_keeps_states_by_metric_and_field() -> None:
    metrics = MetricSet.from_specs(["mse", "loss"])
    metrics.update([1.0, 2.0], [1.0, 4.0], [1.0, 3.0], losses=[2.0, 6.0])
    state = {key: float(value) for key, value in metrics.get_state().items()}
    assert state == {"mse/n": 2, "mse/total": 12, "mse/weight": 4, "loss/n": 2, "loss/total": 20, "loss/weight": 4}
    assert metrics.result() == {"mse": 3.0, "mse/n": 2, "loss": 5.0, "loss/n": 2}


def test_a_value_that_two_metrics_have_is_told_apart_by_the_metrics_name() -> None:
    metrics = MetricSet.from_specs(["binary-classif", ("multi-classif", {"labels": [0, 1]})])
    assert {"binary-classif/accuracy", "multi-classif/accuracy"} <= metrics.result().keys()


def test_a_set_from_its_config_has_the_same_metrics() -> None:
    one_of_each = {build(spec).name: spec for spec in SPECS}
    config = MetricSet.from_specs(list(one_of_each.values())).get_config()
    assert MetricSet.from_specs(config).get_config() == config


@pytest.mark.parametrize(("key", "message"), [("mse/n", "only in one"), ("mse/more", "only in one")])
def test_a_set_merges_a_state_whole_or_not_at_all(key: str, message: str) -> None:
    metrics = MetricSet.from_specs(["mae", "mse"])
    state = {name: value + 1.0 for name, value in metrics.get_state().items()}
    state.pop(key, None) if key in state else state.update({key: np.zeros(())})
    with pytest.raises(ValueError, match=message):
        metrics.merge(state)
    assert not any(np.any(value) for value in metrics.get_state().values())


def test_a_metric_asked_for_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mse' is asked for twice"):
        MetricSet.from_specs(["mse", "mse"])


def test_a_metric_of_losses_needs_losses() -> None:
    with pytest.raises(ConfigError, match="'loss' measures losses"):
        MetricSet.from_specs(["loss"]).update([1.0], [1.0])
