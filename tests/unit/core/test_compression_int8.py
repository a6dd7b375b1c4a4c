"""int8: levels of a scale that each block has for itself."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.compression import Int8
from fl.core.vector import Array, NumpyVector
from tests.unit.core.compression_vectors import floats, normal, vector

TINY = 2.0**-126
LARGEST = float(np.finfo("float32").max)


def decoded(tensors: NumpyVector, block: int = 1024) -> Array:
    compression = Int8(block)
    return compression.decode(tensors.layout, compression.encode(tensors)).flat


@given(values=floats("float32", st.integers(1, 40)), block=st.integers(1, 12))
def test_the_error_is_at_most_half_a_step_of_the_blocks_scale(values: Array, block: int) -> None:
    # Given each float's block, and that one's scale; too small a scale is none, and the block zeros
    starts = np.arange(0, values.size, block)
    peaks = np.maximum.reduceat(np.abs(values, dtype="float64"), starts)
    scales = np.repeat(peaks / 127, block)[: values.size]
    # When it travels
    error = np.abs(decoded(vector(values), block).astype("float64") - values)
    # Then no float is further off than half a step, up to the rounding of scale and quotient
    assert (error <= np.maximum(scales / 2 * (1 + 1e-4), 127 * TINY * (scales < TINY * 1.01))).all()


@given(values=floats("float32", 30).filter(lambda array: bool(np.abs(array).max() > 1e-30)))
def test_a_blocks_largest_value_is_kept_up_to_rounding(values: Array) -> None:
    at = np.abs(values).argmax()

    np.testing.assert_allclose(decoded(vector(values))[at], values[at], rtol=3e-7)


def test_blocks_end_where_their_tensor_does() -> None:
    # Given a tensor of small values between two of large ones, all of which one block could hold
    small = normal(100).flat
    tensors = NumpyVector.from_arrays({"a": small * 1e6, "b": small, "c": small * 1e6})
    # When they travel
    result = decoded(tensors)[100:200]
    # Then the small ones have their own scale
    np.testing.assert_allclose(result, small, atol=np.abs(small).max() / 254 * 1.001)


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 16_384, 16_385, 40_000])
def test_a_payload_has_a_byte_for_each_float_and_four_for_each_block(size: int) -> None:
    assert Int8(1024).nbytes(normal(size).layout) == size + 4 * -(-size // 1024)


@pytest.mark.parametrize("block", [1, 3, 1000, 1024, 16_384])
def test_every_float_has_its_place_whatever_the_length_of_blocks(block: int) -> None:
    values = normal(40_001).flat

    np.testing.assert_allclose(decoded(vector(values), block), values, atol=np.abs(values).max() / 253)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_zeros_stay_zeros(dtype: str) -> None:
    assert not decoded(vector(np.zeros(3000), dtype)).any()


def test_a_block_of_values_too_small_for_a_scale_is_zeros() -> None:
    assert not decoded(vector([1e-44, -1e-40, 0])).any()


def test_finite_values_beyond_float32_become_its_largest() -> None:
    result = decoded(vector([1e300, -1e300, 0], "float64"))

    np.testing.assert_allclose(result, [LARGEST, -LARGEST, 0], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_refused_by_its_name(bad: float) -> None:
    tensors = NumpyVector.from_arrays({"fine": np.ones(3, "float32"), "broken": np.array([1, bad], "float32")})

    with pytest.raises(ValueError, match="int8: tensor 'broken' has values that are NaN or infinite"):
        Int8().encode(tensors)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0, LARGEST / 126])
def test_a_scale_that_no_encoder_writes_is_refused(scale: float) -> None:
    # Given a payload whose second cell begins with a scale that somebody made up
    layout = normal(20_000).layout
    payload = bytearray(Int8().nbytes(layout))
    first = 16_384 + 16 * 4
    payload[first : first + 4] = np.float32(scale).tobytes()

    with pytest.raises(ValueError, match=re.escape("int8: a block of the cell at float 16384 has the scale")):
        Int8().decode(layout, payload)
