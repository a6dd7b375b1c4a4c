"""Sums over clients."""

import numpy as np
import pytest

from fl.core.mergeable import Sum
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
