"""ROC curves: scikit-learn as the oracle, and what a grid of thresholds promises."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as oracle

from fl.core.metrics import BinaryRocAUC
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

GRIDS: list[dict[str, Any]] = [{}, {"scale": 0.01}, {"bound": (0.0, 1.0)}, {"scale": 0.25, "bound": (-2.0, 3.0)}]
grids = pytest.mark.parametrize("options", GRIDS, ids=str)
SCORES = hnp.arrays("float64", 30, elements=st.floats(-1e4, 1e4) | st.floats(0, 1))
TRUTHS = hnp.arrays("int64", 30, elements=st.integers(0, 1))
WEIGHTS = hnp.arrays("float64", 30, elements=st.integers(1, 5))


def measured(options: dict[str, Any], *samples: Any) -> BinaryRocAUC:
    metric = BinaryRocAUC(**options)
    metric.update(*samples)
    return metric


def cells(scores: Array, thresholds: Array) -> Array:
    """How many thresholds each score reaches."""
    return np.asarray((scores[:, None] >= thresholds).sum(axis=1))


@grids
@given(y_true=TRUTHS, y_pred=SCORES, weights=WEIGHTS)
def test_the_area_is_scikit_learns_of_scores_rounded_down_to_the_grid(
    options: dict[str, Any], y_true: Array, y_pred: Array, weights: Array
) -> None:
    assume(0 < y_true.sum() < len(y_true))
    metric = measured(options, y_true, y_pred, weights)

    rounded = cells(y_pred, metric._thresholds)

    expected = oracle.roc_auc_score(y_true, rounded, sample_weight=weights)
    assert metric.result()["roc_auc"] == pytest.approx(expected)


@grids
@given(y_true=TRUTHS, y_pred=SCORES)
def test_the_area_is_off_by_at_most_half_the_pairs_that_lie_between_the_same_thresholds(
    options: dict[str, Any], y_true: Array, y_pred: Array
) -> None:
    assume(0 < y_true.sum() < len(y_true))
    # Given how many of the pairs of a positive and a negative are not told apart
    metric = measured(options, y_true, y_pred)
    cell = cells(y_pred, metric._thresholds)
    together = np.mean(cell[y_true == 1][:, None] == cell[y_true == 0])
    # Then the exact area is no further away than half of them
    exact = oracle.roc_auc_score(y_true, y_pred)
    assert abs(metric.result()["roc_auc"] - exact) <= together / 2 + 1e-12


@grids
@given(y_true=TRUTHS, y_pred=SCORES, cuts=st.lists(st.integers(0, 30), max_size=3))
def test_states_of_clients_add_up_to_that_of_the_union_bit_for_bit(
    options: dict[str, Any], y_true: Array, y_pred: Array, cuts: list[int]
) -> None:
    # Given clients whose scores lie in different ranges
    order = np.argsort(y_pred)
    y_true, y_pred = y_true[order], y_pred[order]
    merged = BinaryRocAUC(**options)
    for start, stop in pairwise([0, *sorted(cuts), 30]):
        merged.merge(measured(options, y_true[start:stop], y_pred[start:stop]).get_state())
    # Then what they merge is what one would have counted, exactly
    central = measured(options, y_true, y_pred).get_state()
    assert all(np.array_equal(value, central[name]) for name, value in merged.get_state().items())


@grids
@given(y_true=TRUTHS, y_pred=SCORES)
def test_counts_are_never_negative_and_lose_no_sample(options: dict[str, Any], y_true: Array, y_pred: Array) -> None:
    state = measured(options, y_true, y_pred).get_state()

    assert min(state["positives"].min(), state["negatives"].min()) >= 0
    assert state["positives"].sum() == y_true.sum()
    assert state["negatives"].sum() == (1 - y_true).sum()


@grids
@given(y_true=TRUTHS, y_pred=SCORES)
def test_each_point_of_the_curve_is_what_its_threshold_gives(
    options: dict[str, Any], y_true: Array, y_pred: Array
) -> None:
    assume(0 < y_true.sum() < len(y_true))
    result = measured(options, y_true, y_pred).result()

    for threshold, tpr, fpr in zip(*(np.asarray(result[key]) for key in ("thresh", "tpr", "fpr")), strict=True):
        assert tpr == pytest.approx(np.mean(y_pred[y_true == 1] >= threshold))
        assert fpr == pytest.approx(np.mean(y_pred[y_true == 0] >= threshold))


def test_probabilities_are_told_apart_at_every_multiple_of_the_scale() -> None:
    # 3 * 0.1 is 0.30000000000000004: a score of 0.3 must reach the threshold 0.3 all the same
    multiples = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    for options in ({}, {"bound": (0.0, 1.0)}):
        result = measured(options, np.arange(11) % 2, multiples).result()
        assert np.array_equal(np.asarray(result["thresh"]), multiples[::-1])


def test_logits_of_any_size_are_told_apart_without_a_bound() -> None:
    logits = np.array([-5e5, -900.0, -80.0, -3.0, -0.5, 0.5, 3.0, 80.0, 900.0, 5e5])

    assert measured({}, [0] * 5 + [1] * 5, logits).result()["roc_auc"] == 1.0


def test_a_score_that_is_no_number_is_below_all_thresholds() -> None:
    assert measured({}, [0, 1], [0.5, np.nan]).result()["roc_auc"] == 0.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_area(label: int) -> None:
    assert measured({}, [label, label], [0.1, 0.9]).result()["roc_auc"] == 0.0


def test_the_positive_label_may_be_text() -> None:
    assert measured({"label": "ill"}, ["ill", "well"], [0.9, 0.1]).result()["roc_auc"] == 1.0


def test_a_label_of_another_kind_than_the_truth_is_refused() -> None:
    with pytest.raises(DataError, match="label=1 can be none of the true labels, which are like 'ill'"):
        measured({}, ["ill", "well"], [0.9, 0.1])


def test_scores_of_two_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"one value a sample is needed, but they have shape \(2, 2\)"):
        measured({}, [0, 1], np.zeros((2, 2)))


def test_a_state_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="'positives' has shape"):
        BinaryRocAUC(scale=0.1).merge(BinaryRocAUC(scale=0.2).get_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale is 0"),
        ({"scale": -0.1}, "scale is -0.1"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 2}, "scale is 2"),
        ({"scale": 1e-9}, "or too many"),
        ({"bound": (1.0, 0.0)}, "bound is"),
        ({"bound": (0.0, float("inf"))}, "bound is"),
    ],
)
def test_options_that_give_no_grid_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BinaryRocAUC(**options)
