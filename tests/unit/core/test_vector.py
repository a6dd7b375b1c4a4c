"""Vectors: arithmetic against numpy on the separate arrays, bytes, and layouts that do not fit."""

import operator
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.layout import ITEM_SIZES, Layout, TensorSpec, check_same
from fl.core.vector import CHUNK, NumpyVector

FLOATS = st.floats(-1e3, 1e3, width=32)


@st.composite
def vectors(draw: st.DrawFn, positive: bool = False) -> NumpyVector:
    dtype = draw(st.sampled_from(["float32", "float64"]))
    elements = st.floats(0.125, 1e3, width=32) if positive else FLOATS
    shapes = draw(st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), min_size=1, max_size=4))
    return NumpyVector.from_arrays(
        {f"t{i}": draw(hnp.arrays(dtype, shape, elements=elements)) for i, shape in enumerate(shapes)}
    )


def mixed() -> NumpyVector:
    """Floats of both sides of an integer and a boolean tensor."""
    return NumpyVector.from_arrays(
        {
            "weight": np.arange(6, dtype="float32").reshape(2, 3),
            "seen": np.array(7, dtype="int64"),
            "mask": np.array([True, False, True]),
            "bias": np.array([0.5], dtype="float32"),
        }
    )


Operator = Callable[[Any, Any], Any]

BINARY: list[Operator] = [operator.add, operator.sub, operator.mul, operator.truediv]


@pytest.mark.parametrize("op", BINARY)
@given(vector=vectors(positive=True))
def test_an_operator_on_vectors_is_the_operator_on_each_tensor(op: Operator, vector: NumpyVector) -> None:
    other = vector * 0.5 + 1.0
    result = op(vector, other)
    assert isinstance(result, NumpyVector)
    for name, array in result.arrays().items():
        np.testing.assert_array_equal(array, op(vector.arrays()[name], other.arrays()[name]))


@pytest.mark.parametrize("op", [*BINARY, operator.pow])
@pytest.mark.parametrize("scalar", [3, 2.5, np.float64(2.5), np.float32(2.5), np.int64(3)])
def test_a_scalar_on_either_side_keeps_the_dtype(op: Operator, scalar: float | np.generic) -> None:
    vector = NumpyVector.from_arrays({"a": np.array([1.0, 2.0, 3.0], dtype="float32")})
    expected = np.array([1.0, 2.0, 3.0])
    left, right = op(vector, scalar), op(scalar, vector)
    assert isinstance(left, NumpyVector)
    assert isinstance(right, NumpyVector)
    assert left.flat.dtype == right.flat.dtype == np.float32
    np.testing.assert_allclose(left.flat, op(expected, float(scalar)), rtol=1e-6)
    np.testing.assert_allclose(right.flat, op(float(scalar), expected), rtol=1e-6)


@pytest.mark.parametrize("op", [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow])
def test_an_operator_in_place_writes_into_the_same_buffer(op: Operator) -> None:
    vector = NumpyVector.from_arrays({"a": np.array([1.0, 2.0]), "b": np.array([3.0])})
    buffer, expected = vector.flat, op(vector.flat.copy(), 2.0)
    assert op(vector, np.float64(2.0)) is vector
    assert vector.flat is buffer
    np.testing.assert_array_equal(buffer, expected)


def test_integer_tensors_take_no_part_in_arithmetic() -> None:
    result = mixed() * 2.0 + mixed()
    assert result.arrays()["seen"] == 7
    assert result.arrays()["mask"].tolist() == [True, False, True]
    assert result.arrays()["bias"] == np.float32(1.5)


@given(vector=vectors())
def test_element_wise_functions_are_those_of_numpy(vector: NumpyVector) -> None:
    flat = vector.flat
    np.testing.assert_array_equal(vector.sign().flat, np.sign(flat))
    np.testing.assert_array_equal((vector * vector).sqrt().flat, np.sqrt(flat * flat))
    np.testing.assert_array_equal(vector.minimum(0.5).flat, np.minimum(flat, flat.dtype.type(0.5)))
    np.testing.assert_array_equal(vector.maximum(-vector).flat, np.maximum(flat, -flat))


@given(vector=vectors())
def test_sum_dot_and_norm_are_taken_over_all_tensors_in_float64(vector: NumpyVector) -> None:
    flat = vector.flat.astype(np.float64)
    assert vector.sum() == pytest.approx(flat.sum(), rel=1e-12, abs=1e-9)
    assert vector.dot(vector) == pytest.approx(float(flat @ flat), rel=1e-12)
    assert vector.norm() == pytest.approx(float(np.linalg.norm(flat)), rel=1e-12)


def test_the_norm_of_a_long_float32_vector_loses_nothing_to_float32() -> None:
    # 1e20 squared overflows float32, and two chunks must both be counted
    vector = NumpyVector.from_arrays({"a": np.full(CHUNK + 1, 1e20, dtype="float32")})
    assert vector.norm() == pytest.approx(1e20 * np.sqrt(CHUNK + 1), rel=1e-6)


@given(vector=vectors())
def test_unpacking_packed_bytes_gives_the_same_vector(vector: NumpyVector) -> None:
    packed = bytes(vector.pack())
    assert len(packed) == vector.layout.nbytes
    assert NumpyVector.unpack(vector.layout, packed) == vector


def test_integer_tensors_are_packed_after_the_floats_in_layout_order() -> None:
    packed = bytes(mixed().pack())
    assert packed == np.arange(6, dtype="<f4").tobytes() + b"\x00\x00\x00\x3f" + b"\x07" + b"\x00" * 7 + b"\x01\x00\x01"
    assert NumpyVector.unpack(mixed().layout, packed) == mixed()


def test_packing_and_unpacking_floats_copies_nothing() -> None:
    vector = NumpyVector.from_arrays({"a": np.zeros(3), "b": np.zeros((2, 2))})
    again = NumpyVector.unpack(vector.layout, vector.pack())
    again.flat[0] = 5.0
    assert vector.arrays()["a"][0] == 5.0


def test_bytes_of_the_wrong_length_are_refused_with_both_lengths() -> None:
    vector = NumpyVector.from_arrays({"a": np.zeros(3)})
    with pytest.raises(ValueError, match=r"24 bytes, but 23 were given"):
        NumpyVector.unpack(vector.layout, bytes(23))


@pytest.mark.parametrize("dtype", ITEM_SIZES)
def test_the_size_of_an_item_is_what_numpy_says(dtype: str) -> None:
    assert ITEM_SIZES[dtype] == np.dtype(dtype).itemsize


def test_arrays_are_views_of_the_buffer() -> None:
    vector = mixed()
    vector.arrays()["bias"][0] = 9.0
    assert vector.flat.tolist() == [0, 1, 2, 3, 4, 5, 9.0]


def test_a_vector_without_tensors_packs_to_nothing() -> None:
    vector = NumpyVector.from_arrays({})
    assert vector.pack().nbytes == 0
    assert NumpyVector.unpack(vector.layout, b"") == vector
    assert vector.norm() == 0.0


def test_a_copy_shares_nothing() -> None:
    vector = mixed()
    copy = vector.copy()
    copy += 1.0
    copy.arrays()["seen"][...] = 0
    assert vector == mixed()


def test_zeros_like_zeroes_integers_too() -> None:
    assert all(not array.any() for array in mixed().zeros_like().arrays().values())


def test_astype_casts_floats_and_leaves_integers() -> None:
    cast = mixed().astype("float64")
    assert [spec.dtype for spec in cast.layout.specs] == ["float64", "int64", "bool", "float64"]
    assert cast.flat.dtype == np.float64
    assert cast.astype("float32") == mixed()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_tensor_with_a_value_that_is_not_finite_is_named(value: float) -> None:
    vector = NumpyVector.from_arrays({"a": np.zeros(CHUNK), "b": np.array([1.0, value]), "c": np.array([value])})
    assert vector.first_nonfinite() == "b"
    assert not vector.is_finite()


def test_a_finite_vector_has_no_tensor_to_name() -> None:
    assert mixed().first_nonfinite() is None
    assert mixed().is_finite()


def test_vectors_of_different_layouts_do_not_mix_and_the_first_difference_is_named() -> None:
    left = NumpyVector.from_arrays({"a": np.zeros(2), "b": np.zeros((2, 3))})
    right = NumpyVector.from_arrays({"a": np.zeros(2), "b": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"'b' differs: b: float64\[2, 3\] against b: float64\[3, 2\]"):
        left + right


def test_a_missing_tensor_is_named() -> None:
    one, two = TensorSpec("a", "float32", (1,)), TensorSpec("b", "float32", (1,))
    with pytest.raises(ValueError, match="tensor 'b' is in one vector only"):
        check_same(Layout((one,)), Layout((one, two)))


def test_two_float_dtypes_in_one_vector_are_refused() -> None:
    with pytest.raises(ValueError, match="one float dtype"):
        NumpyVector.from_arrays({"a": np.zeros(1, "float32"), "b": np.zeros(1, "float64")})


def test_a_dtype_that_cannot_travel_is_refused() -> None:
    with pytest.raises(ValueError, match="'complex128' is none of"):
        NumpyVector.from_arrays({"a": np.zeros(1, complex)})


def test_a_name_that_comes_twice_is_refused() -> None:
    spec = TensorSpec("a", "float32", (1,))
    with pytest.raises(ValueError, match="'a' comes twice"):
        Layout((spec, spec))


def test_vectors_and_text_do_not_mix() -> None:
    vector = mixed()
    with pytest.raises(TypeError, match="got str"):
        vector += "1"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_dot_product_has_the_same_bits_whatever_the_number_of_threads(dtype: str) -> None:
    # Given: as many elements as BLAS would split over its threads
    program = (
        "import numpy as np; from fl.core.vector import NumpyVector; "
        f"x = np.random.default_rng(0).normal(size=300_001).astype({dtype!r}); "
        "v = NumpyVector.from_arrays({'x': x}); print(v.dot(v).hex())"
    )
    # When
    bits = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    # Then
    assert len(bits) == 1
