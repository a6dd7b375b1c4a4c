"""R squared: scikit-learn as the oracle, and how many digits its sums keep."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fl.core.metrics import RSquared
from fl.errors import ConfigError, DataError


def r_squared(y_true: Any, y_pred: Any, weights: Any = None, n_outputs: int = 1) -> float:
    metric = RSquared(n_outputs)
    metric.update(y_true, y_pred, weights)
    value = metric.result()["r2"]
    assert isinstance(value, float)
    return value


@given(st.integers(0, 99), st.integers(1, 3))
def test_it_is_scikit_learns(seed: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    y_true, y_pred, weights = rng.normal(3, 2, (20, outputs)), rng.normal(3, 2, (20, outputs)), rng.random(20)

    expected = oracle.r2_score(y_true, y_pred, sample_weight=weights)

    assert r_squared(y_true, y_pred, weights, outputs) == pytest.approx(expected)


@pytest.mark.parametrize(("far", "tolerance"), [(1.0, 1e-13), (1e2, 1e-10), (1e4, 1e-6), (1e6, 1e-2)])
def test_it_loses_digits_with_the_square_of_how_far_from_zero_the_targets_lie(far: float, tolerance: float) -> None:
    # Given targets of standard deviation 1 that lie `far` from zero
    rng = np.random.default_rng(0)
    y_true = far + rng.normal(size=300)
    y_pred = y_true + rng.normal(size=300)
    # When R² is taken from them without any rounding
    true, predicted = ([Fraction(value) for value in values.tolist()] for values in (y_true, y_pred))
    mean = sum(true) / 300
    error = sum((left - right) ** 2 for left, right in zip(true, predicted, strict=True))
    exact = float(1 - error / sum((value - mean) ** 2 for value in true))
    # Then sums of squares in float64 are as near as 1e-16·far² lets them be
    assert r_squared(y_true, y_pred) == pytest.approx(exact, abs=tolerance)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8])
def test_constant_targets_are_explained_by_themselves_only(constant: float) -> None:
    y_true = np.full(1000, constant)

    assert r_squared(y_true, y_true) == 1.0
    assert r_squared(y_true, y_true + 1.0) == 0.0


def test_clients_of_constant_targets_each_have_a_variance_together() -> None:
    # Given two sites whose means differ and that have no variance of their own
    metric = RSquared()
    for constant in (0.0, 2.0):
        site = RSquared()
        site.update([constant, constant], [1.0, 1.0])
        metric.merge(site.get_state())
    # Then predicting the mean of both explains nothing
    assert metric.result()["r2"] == 0.0


def test_one_output_may_be_a_column() -> None:
    assert r_squared([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]]) == 1.0


def test_another_number_of_outputs_than_it_was_told_is_refused() -> None:
    with pytest.raises(DataError, match="n_outputs is 1, but samples have 2 outputs"):
        r_squared(np.zeros((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("n_outputs", [0, 1.5])
def test_a_number_of_outputs_that_is_none_is_refused(n_outputs: Any) -> None:
    with pytest.raises(ConfigError, match="n_outputs is"):
        RSquared(n_outputs)
