"""topk: the largest floats exactly, and nothing of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.compression import TopK
from fl.core.compression.selection import SAMPLE
from fl.core.vector import Array, Layout, NumpyVector
from tests.unit.core.compression_vectors import normal, vector


def decoded(share: float, values: Array) -> Array:
    tensors = vector(values, values.dtype.name)
    return TopK(share).decode(tensors.layout, TopK(share).encode(tensors)).flat


def only_largest(values: Array, k: int) -> Array:
    """By sorting all, those that come first before others of the same size."""
    kept = np.argsort(-np.abs(values), kind="stable")[:k]
    result = np.zeros_like(values)
    result[kept] = values[kept]
    return result


@given(
    values=hnp.arrays("float32", st.integers(1, 60), elements=st.floats(-3, 3, width=32) | st.sampled_from([-1, 0, 1])),
    k=st.integers(1, 60),
)
def test_the_largest_are_kept_exactly_and_of_equal_ones_the_first(values: Array, k: int) -> None:
    k = min(k, values.size)

    np.testing.assert_array_equal(decoded(k / values.size - 1e-9, values), only_largest(values, k))


def many(kind: str) -> Array:
    """More floats than the sample has."""
    rng = np.random.default_rng(7)
    size = 3 * SAMPLE + 5
    values = {
        "normal": rng.standard_normal(size),
        "sorted": np.linspace(-1, 1, size),
        "mostly zeros": np.where(rng.random(size) < 0.97, 0, rng.standard_normal(size)),
        "all the same": np.full(size, -2.5),
        "two values": rng.choice([1.0, -2.0], size),
        "zeros": np.zeros(size),
    }[kind]
    return values.astype("float32")


@pytest.mark.parametrize("kind", ["normal", "sorted", "mostly zeros", "all the same", "two values", "zeros"])
@pytest.mark.parametrize("share", [1e-9, 0.001, 0.05, 0.5, 0.97, 1])
def test_of_more_floats_than_are_sampled_the_very_largest_are_kept(kind: str, share: float) -> None:
    values = many(kind)

    np.testing.assert_array_equal(
        decoded(share, values), only_largest(values, TopK(share).n_kept(vector(values).layout))
    )


@pytest.mark.parametrize("misleading", [0.0, 1e6])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_sample_that_misleads_changes_nothing(misleading: float, share: float) -> None:
    # Given floats of which just those that are sampled, more than a quarter, have a value far from the others'
    values = many("normal")
    values[np.random.default_rng(0).integers(0, values.size, SAMPLE)] = misleading

    np.testing.assert_array_equal(
        decoded(share, values), only_largest(values, TopK(share).n_kept(vector(values).layout))
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_kept_floats_are_exact_in_every_dtype(dtype: str) -> None:
    values = normal(40_000, dtype).flat

    result = decoded(0.01, values)

    assert np.count_nonzero(result) == 400
    np.testing.assert_array_equal(result[result != 0], values[result != 0])


def test_what_is_largest_is_decided_over_all_tensors() -> None:
    tensors = NumpyVector.from_arrays({"a": np.ones(9, "float32"), "b": np.array([5, -7, 0.5], "float32")})

    result = TopK(2 / 12).decode(tensors.layout, TopK(2 / 12).encode(tensors)).arrays()

    assert not result["a"].any()
    assert result["b"].tolist() == [5, -7, 0]


@pytest.mark.parametrize(("share", "size", "kept"), [(0.07, 100, 7), (0.29, 100, 29), (0.01, 101, 2), (1e-6, 3, 1)])
def test_a_share_means_what_is_written_and_is_rounded_up(share: float, size: int, kept: int) -> None:
    assert np.count_nonzero(decoded(share, np.arange(1, size + 1, dtype="float32"))) == kept


def test_values_that_are_not_finite_are_larger_than_all_others() -> None:
    result = decoded(0.5, np.array([1e38, np.inf, -1e38, np.nan], "float32"))

    np.testing.assert_array_equal(result, [0, np.inf, 0, np.nan])


@pytest.mark.parametrize(("dtype", "nbytes"), [("float16", 4), ("float32", 6), ("float64", 10)])
def test_a_payload_has_two_bytes_and_the_value_of_each_kept_float_and_two_bytes_a_cell(dtype: str, nbytes: int) -> None:
    assert TopK(0.01).nbytes(normal(40_000, dtype).layout) == 400 * nbytes + 3 * 2


def forged(counts: list[int], places: list[int]) -> tuple[Layout, bytes]:
    """A payload in which two of 20 floats are kept."""
    layout = normal(20).layout
    parts = [np.array(counts, "<u2"), np.array(places, "<u2"), np.ones(2, "<f4")]
    return layout, b"".join(part.tobytes() for part in parts)


@pytest.mark.parametrize(
    ("counts", "places", "text"),
    [
        ([1], [3, 4], "topk: the head announces 1 floats, but 2 of 20 are to be kept"),
        ([3], [3, 4], "topk: the head announces 3 floats, but 2 of 20 are to be kept"),
        ([2], [4, 4], "topk: the cell at float 0 names a place twice, or not in order"),
        ([2], [4, 3], "topk: the cell at float 0 names a place twice, or not in order"),
        ([2], [4, 20], "topk: the cell at float 0 has 20 floats, and names place 20"),
    ],
)
def test_a_payload_that_no_encoder_writes_is_refused(counts: list[int], places: list[int], text: str) -> None:
    layout, payload = forged(counts, places)

    with pytest.raises(ValueError, match=text):
        TopK(0.1).decode(layout, payload)


def test_a_head_is_refused_before_any_cell_is_read() -> None:
    # Given a head that announces more floats than a cell has, of which not one has come
    layout = normal(40_000).layout
    head = np.array([400, 65_535, 0], "<u2").tobytes()

    with pytest.raises(ValueError, match="topk: the head announces 65935 floats, but 400 of 40000 are to be kept"):
        list(TopK(0.01).decoder(layout).feed(head))


def test_cells_with_nothing_in_them_give_their_zeros() -> None:
    # Given values whose largest are all in the second of three cells
    values = np.zeros(40_000, "float32")
    values[20_000:20_400] = 1
    tensors = vector(values)
    # When what is decoded is taken piece by piece
    pieces = list(TopK(0.01).decoder(tensors.layout).feed(TopK(0.01).encode(tensors)))
    # Then the pieces cover every float
    assert [start for start, _ in pieces] == [0, 16_384, 32_768]
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), values)
