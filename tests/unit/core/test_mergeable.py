"""Sums over clients."""

import numpy as np
import pytest

from fl.core.mergeable import Sum, WeightedSum
from fl.core.vector import NumpyVector


def vector(value: float) -> NumpyVector:
    return NumpyVector.from_arrays({"a": np.full(2, float(value))})


def test_fields_are_added_name_by_name() -> None:
    merged = Sum({"v": vector(1), "x": np.ones(2), "k": 2.0}).merge(Sum({"v": vector(2), "x": np.ones(2), "k": 3.0}))
    fields = merged.finish()
    assert fields["v"] == vector(3)
    assert np.asarray(fields["x"]).tolist() == [2, 2]
    assert fields["k"] == 5.0


def test_merging_changes_neither_part() -> None:
    left, right = Sum({"v": vector(1), "x": np.ones(2)}), Sum({"v": vector(2), "x": np.ones(2)})
    left.merge(right)
    assert left.fields["v"] == vector(1)
    assert np.asarray(right.fields["x"]).tolist() == [1, 1]


def test_a_field_that_one_part_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="only one of them has b, c"):
        Sum({"a": 1.0, "b": 1.0}).merge(Sum({"a": 1.0, "c": 1.0}))


def test_arrays_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'a' has shape \(2,\) in one part and \(\) in another"):
        Sum({"a": np.ones(2)}).merge(Sum({"a": 1.0}))


def test_vectors_of_different_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' differs"):
        Sum({"v": vector(1)}).merge(Sum({"v": vector(1).astype("float32")}))


def test_a_weighted_sum_is_finished_as_the_mean_in_the_dtype_it_was_asked_for() -> None:
    parts = WeightedSum(vector(2), 1.0, "float32").merge(WeightedSum(vector(6), 3.0, "float32"))
    assert parts.finish() == vector(2).astype("float32")


def test_a_weighted_sum_without_weight_has_no_mean() -> None:
    assert WeightedSum(vector(0), 0.0, "float32").finish() is None


def test_weighted_sums_of_different_layouts_are_refused() -> None:
    other = NumpyVector.from_arrays({"b": np.ones(2)})
    with pytest.raises(ValueError, match="'a' differs"):
        WeightedSum(vector(1), 1.0, "float32").merge(WeightedSum(other, 1.0, "float32"))
