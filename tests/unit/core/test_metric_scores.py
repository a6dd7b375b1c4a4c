"""Metrics of scores by class, and confusion matrices: scikit-learn as the oracle."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fl.core.metrics import ConfusionMatrix, LogLoss, Metric, MulticlassAccuracyPrecisionRecall, TopKAccuracy
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

Samples = tuple[Array, Array, Array]


def value(metric: Metric, *samples: Any) -> Any:
    metric.update(*samples)
    return metric.result()[metric.name]


def drawn(seed: int, classes: int = 4) -> Samples:
    """True classes, probabilities by class, and weights of 40 samples, in which all classes occur."""
    rng = np.random.default_rng(seed)
    y_true = np.concatenate([np.arange(classes), rng.integers(0, classes, 40 - classes)])
    return y_true, rng.dirichlet(np.ones(classes), 40), rng.random(40)


@given(st.integers(0, 99))
def test_log_loss_is_scikit_learns(seed: int) -> None:
    y_true, y_pred, weights = drawn(seed)

    assert value(LogLoss(), y_true, y_pred, weights) == pytest.approx(
        oracle.log_loss(y_true, y_pred, sample_weight=weights)
    )


def test_log_loss_of_two_classes_takes_the_probability_of_the_second() -> None:
    y_true, y_pred, weights = drawn(0, classes=2)
    expected = oracle.log_loss(y_true, y_pred, sample_weight=weights)

    assert value(LogLoss(), y_true, y_pred[:, 1], weights) == pytest.approx(expected)
    assert value(LogLoss(), y_true, y_pred[:, 1:], weights) == pytest.approx(expected)
    assert value(LogLoss(["no", "yes"]), np.array(["no", "yes"])[y_true], y_pred[:, 1], weights) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sure_mistake_costs_as_much_as_scikit_learn_says(dtype: str) -> None:
    y_pred = np.array([[1.0, 0.0], [0.0, 1.0]], dtype)

    assert value(LogLoss(), [0, 0], y_pred) == pytest.approx(oracle.log_loss([0, 0], y_pred, labels=[0, 1]))


def test_predictions_that_are_no_numbers_give_a_loss_that_is_none() -> None:
    # a model that diverged: the run goes on and says so, as with its own loss
    assert np.isnan(value(LogLoss(), [0], [[np.nan, np.nan]]))


@pytest.mark.parametrize("y_pred", [[[2.0, -1.0]], [[0.3, 0.3]], [1.5]])
def test_a_log_loss_of_what_are_no_probabilities_is_refused(y_pred: list[Any]) -> None:
    with pytest.raises(DataError, match="no probabilities that add up to 1"):
        value(LogLoss(), [0], y_pred)


@given(st.integers(0, 99), st.integers(1, 3))
def test_top_k_accuracy_is_scikit_learns(seed: int, k: int) -> None:
    y_true, y_pred, weights = drawn(seed)

    assert value(TopKAccuracy(k), y_true, y_pred, weights) == pytest.approx(
        oracle.top_k_accuracy_score(y_true, y_pred, k=k, sample_weight=weights)
    )


def test_the_class_that_comes_first_wins_a_tie() -> None:
    y_true, y_pred = np.arange(4), np.ones((4, 4))

    assert [value(TopKAccuracy(k), y_true, y_pred) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


@given(st.integers(0, 99))
def test_the_one_class_of_highest_score_is_what_plain_accuracy_looks_at(seed: int) -> None:
    # Given scores among which are many ties
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.integers(0, 3, 20), rng.integers(0, 2, (20, 3)).astype(float)
    plain = MulticlassAccuracyPrecisionRecall([0, 1, 2])
    plain.update(y_true, y_pred)
    # Then both are the same
    assert value(TopKAccuracy(1), y_true, y_pred) == plain.result()["accuracy"]


def test_a_score_that_is_no_number_is_never_among_the_highest() -> None:
    assert value(TopKAccuracy(2), [0, 1], [[np.nan] * 3, [np.nan] * 3]) == 0.0


def test_classes_of_scores_may_be_text() -> None:
    scores = [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]

    assert value(TopKAccuracy(1, ["c", "a", "b"]), ["a", "b"], scores) == 0.5


@given(st.integers(0, 99))
def test_confusion_is_scikit_learns_of_scores_and_of_labels(seed: int) -> None:
    y_true, y_pred, weights = drawn(seed)
    expected = oracle.confusion_matrix(y_true, y_pred.argmax(axis=1), sample_weight=weights)

    np.testing.assert_allclose(value(ConfusionMatrix(range(4)), y_true, y_pred, weights), expected)
    np.testing.assert_allclose(value(ConfusionMatrix(range(4)), y_true, y_pred.argmax(axis=1), weights), expected)


@pytest.mark.parametrize("metric", [LogLoss(), TopKAccuracy()], ids=lambda one: one.name)
def test_a_class_without_a_column_is_named(metric: Metric) -> None:
    with pytest.raises(DataError, match=r"3 is none of the labels \[0, 1, 2\]"):
        metric.update([3], [[0.2, 0.3, 0.5]])


@pytest.mark.parametrize("metric", [LogLoss([0, 1]), TopKAccuracy(1, [0, 1])], ids=lambda one: one.name)
def test_scores_of_another_number_of_classes_are_refused(metric: Metric) -> None:
    with pytest.raises(DataError, match="scores of 3 classes"):
        metric.update([1], [[0.2, 0.3, 0.5]])


def test_scores_of_more_than_classes_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"one score a class is needed for each sample, but they have shape \(1, 2, 2\)"
    ):
        LogLoss().update([1], np.zeros((1, 2, 2)))


@pytest.mark.parametrize("name", ["log-loss", "top-k-accuracy", "binary-roc", "binary-classif"])
def test_text_where_scores_are_needed_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: .*, but the predictions are <U1"):
        Metric.registry.build(name).update([1], ["a"])


@pytest.mark.parametrize("k", [0, 1.5])
def test_a_k_that_is_no_number_of_classes_is_refused(k: Any) -> None:
    with pytest.raises(ConfigError, match="k is"):
        TopKAccuracy(k)


@pytest.mark.parametrize("kind", [LogLoss, ConfusionMatrix])
def test_labels_that_are_no_classes_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="give at least two"):
        kind(labels=[0])
