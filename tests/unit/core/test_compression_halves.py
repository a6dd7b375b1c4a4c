"""bf16 and fp16: every float becomes the nearest one of two bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.compression import Bfloat16, Compression, Float16
from fl.core.vector import Array
from tests.unit.core.compression_vectors import floats, normal, vector

BF16, FP16 = Bfloat16(), Float16()
LARGEST = {"bf16": 2.0**127 * (2 - 2.0**-7), "fp16": 65504.0}
PRECISION = {"bf16": (8, -126), "fp16": (11, -14)}
"""Significant bits, and the exponent of the smallest normal number."""

both = pytest.mark.parametrize("compression", [BF16, FP16], ids=lambda one: one.name)


def decoded(compression: Compression, values: Array) -> Array:
    tensors = vector(values, values.dtype.name)
    return compression.decode(tensors.layout, compression.encode(tensors)).flat


def nearest(compression: Compression, values: Array) -> Array:
    """The nearest multiples, ties to even, of each value's unit in the last place: exact in float64."""
    bits, lowest = PRECISION[compression.name]
    exponents = np.maximum(np.frexp(values.astype("float64"))[1] - 1, lowest)
    units: Array = np.ldexp(1.0, exponents - (bits - 1))
    rounded: Array = np.rint(values.astype("float64") / units) * units
    return rounded.clip(-LARGEST[compression.name], LARGEST[compression.name])


def bit_patterns() -> st.SearchStrategy[Array]:
    """float32 of any bits, many of them half way between two floats of fewer bits."""
    bits = st.integers(0, 2**32 - 1)
    half_way = st.one_of(*(bits.map(lambda b, at=at: (b >> at << at) | 1 << (at - 1)) for at in (13, 16)))  # type: ignore[misc]  # at is bound at once
    patterns = hnp.arrays("uint32", st.integers(1, 50), elements=st.one_of(bits, half_way))
    return patterns.map(lambda array: array.view("float32"))


@both
@given(values=bit_patterns())
def test_a_float_becomes_the_nearest_of_its_format_and_of_two_the_even_one(
    compression: Compression, values: Array
) -> None:
    finite = values[np.isfinite(values)]
    if finite.size:
        np.testing.assert_array_equal(decoded(compression, finite).astype("float64"), nearest(compression, finite))


@given(values=hnp.arrays("float64", st.integers(1, 30), elements=st.floats(-7e4, 7e4)))
def test_fp16_of_float64_is_rounded_once(values: Array) -> None:
    np.testing.assert_array_equal(decoded(FP16, values), nearest(FP16, values))


@given(values=floats("float32", st.integers(1, 30)).map(lambda array: array.astype("float64") * (1 + 2.0**-30)))
def test_bf16_of_float64_is_that_of_the_nearest_float32(values: Array) -> None:
    limited = np.clip(values, -LARGEST["bf16"], LARGEST["bf16"])

    np.testing.assert_array_equal(decoded(BF16, values), decoded(BF16, limited.astype("float32")))


@pytest.mark.parametrize(("compression", "relative", "absolute"), [(BF16, 2**-8, 2**-134), (FP16, 2**-11, 2**-25)])
@given(data=st.data())
def test_the_error_is_within_half_a_unit_in_the_last_place(
    compression: Compression, relative: float, absolute: float, data: st.DataObject
) -> None:
    values = data.draw(floats("float32", 20)).clip(-LARGEST[compression.name], LARGEST[compression.name])

    error = np.abs(decoded(compression, values).astype("float64") - values)

    assert (error <= np.maximum(relative * np.abs(values, dtype="float64"), absolute)).all()


@both
@given(values=bit_patterns())
def test_encoding_what_was_decoded_gives_the_same_payload(compression: Compression, values: Array) -> None:
    tensors = vector(values)
    payload = compression.encode(tensors)

    assert compression.encode(compression.decode(tensors.layout, payload)) == payload


@both
@given(mantissa=st.integers(1, 2**23 - 1), negative=st.booleans())
def test_nan_stays_nan_whatever_its_bits(compression: Compression, mantissa: int, negative: bool) -> None:
    bits = np.array([0x7F800000 | mantissa | negative << 31, 0], "uint32")

    np.testing.assert_array_equal(decoded(compression, bits.view("float32")), [np.nan, 0])


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_stay_and_finite_values_beyond_the_largest_become_it(compression: Compression, dtype: str) -> None:
    largest, beyond = LARGEST[compression.name], float(np.finfo(dtype).max)
    values = np.array([np.inf, -np.inf, beyond, -beyond, largest, 1.0], dtype)

    np.testing.assert_array_equal(decoded(compression, values), [np.inf, -np.inf, largest, -largest, largest, 1.0])


@both
def test_a_model_in_half_precision_travels_exactly(compression: Compression) -> None:
    tensors = normal(1000, "float16")

    payload = compression.encode(tensors)

    assert payload == tensors.pack()
    assert compression.decode(tensors.layout, payload) == tensors


@both
def test_a_float_takes_two_bytes(compression: Compression) -> None:
    assert compression.nbytes(normal(100_001, "float64").layout) == 200_002
