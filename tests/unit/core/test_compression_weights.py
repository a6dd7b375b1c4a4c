"""What is told of a compression before weights, which have no feedback, are sent by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.compression import Bfloat16, Compression, Float16, Int8, TopK, Uncompressed
from fl.core.vector import NumpyVector, Role
from tests.unit.core.compression_vectors import DTYPES, floats, network, normal, vector

EVERY = [Uncompressed(), Bfloat16(), Float16(), Int8(), Int8(3), TopK(), TopK(0.37)]
FOR_WEIGHTS = [Bfloat16(), Float16(), Int8(), Int8(3)]

every = pytest.mark.parametrize("compression", EVERY, ids=lambda one: f"{one.name}-{one.get_config()}")
for_weights = pytest.mark.parametrize("compression", FOR_WEIGHTS, ids=lambda one: f"{one.name}-{one.get_config()}")


def bfloat16(values: np.ndarray) -> np.ndarray:
    """By torch."""
    import torch  # noqa: PLC0415  # only here

    return torch.from_numpy(values.astype("float32")).to(torch.bfloat16).to(torch.float32).numpy()


def float16(values: np.ndarray) -> np.ndarray:
    return values.astype("float16").astype("float32")


def int8(values: np.ndarray) -> np.ndarray:
    """One block."""
    scale = np.float32(np.abs(values).max()) / np.float32(127)
    return (np.rint(values / scale) * scale).astype("float32")


@pytest.mark.parametrize(
    ("compression", "oracle"),
    [(Bfloat16(), bfloat16), (Float16(), float16), (Int8(), int8)],
    ids=["bf16", "fp16", "int8"],
)
def test_clients_get_the_nearest_that_the_format_has(compression: Compression, oracle: object) -> None:
    weights = normal(1000)

    received = compression.decode(weights.layout, compression.encode(weights))

    assert callable(oracle)
    np.testing.assert_array_equal(received.flat, oracle(weights.flat))


@for_weights
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_weights_within_the_range_are_rounded_and_never_cut_off(
    compression: Compression, dtype: str, data: st.DataObject
) -> None:
    # Given
    weights = vector(data.draw(floats(dtype, 9)), dtype)

    # When
    beyond = compression.first_beyond(weights)

    # Then: half a level of the largest, or of the smallest that the format has, where what is cut off is off by more
    smallest = 2**-25 if compression.name == "fp16" else 2**-119
    received = compression.decode(weights.layout, compression.encode(weights))
    peak = np.abs(weights.flat).max()
    assert beyond == ("w" if peak > compression.largest else None)
    if beyond is None:
        error = np.abs(received.flat.astype("float64") - weights.flat).max()
        assert error <= peak / 250 + smallest


@for_weights
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_tensor_that_is_no_number_is_named(compression: Compression, bad: float) -> None:
    weights = NumpyVector.from_arrays(
        {name: np.asarray(values, "float32") for name, values in {"a": [1, 2], "b": [1, bad], "c": [bad]}.items()}
    )

    assert compression.first_beyond(weights) == "b"


@for_weights
def test_statistics_may_be_of_any_size(compression: Compression) -> None:
    arrays = {"weight": np.ones(3, "float32"), "variance": np.full(2, np.finfo("float32").max)}

    assert compression.first_beyond(NumpyVector.from_arrays(arrays, {"variance": Role.BUFFER})) is None


@for_weights
def test_tensors_without_values_are_within_every_range(compression: Compression) -> None:
    assert compression.first_beyond(network()) is None
    assert compression.first_beyond(vector([])) is None


def test_weights_are_not_sent_where_most_of_them_would_be_left_out() -> None:
    assert {one.name for one in EVERY if not one.for_weights} == {"topk"}


@every
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_that_is_there_takes_what_is_decoded(compression: Compression, dtype: str) -> None:
    # Given memory with anything in it
    weights = network(dtype)
    payload = compression.encode(weights)
    flat = np.full(weights.flat.size, 7, dtype)

    # When
    decoded = compression.decode_into(flat, weights.layout, payload)

    # Then
    assert decoded.flat is flat
    assert decoded == compression.decode(weights.layout, payload)


@every
def test_memory_that_is_there_takes_no_payload_of_another_length(compression: Compression) -> None:
    weights = network()

    with pytest.raises(ValueError, match="these tensors take"):
        compression.decode_into(np.empty_like(weights.flat), weights.layout, bytes(compression.encode(weights)) + b"x")
