"""Vectors travel as what they are, and nothing that lies about itself becomes one."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.blob import BlobRef
from fl.core.layout import ITEM_SIZES
from fl.core.vector import NumpyVector
from fl.errors import BadMessage
from fl.run.events import Parcel
from fl.wire.tensors import blob_ref, digest, inline, open_parcel, parcel, read_inline, read_layout, referring, unpack
from fl.wire.tensors_pb2 import Tensors, TensorSpec
from tests.unit.wire.tensors_of import a_vector, any_tensors, same, vectors, wire_tensors


@given(vectors())
def test_a_vector_comes_back_from_a_message_to_the_last_bit(vector: NumpyVector) -> None:
    # When
    received = Tensors.FromString(inline(vector).SerializeToString())
    # Then
    assert same(read_inline(received), vector)


@pytest.mark.parametrize("dtype", sorted(ITEM_SIZES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3), (1, 1, 1)], ids=str)
def test_every_dtype_and_shape_travels(dtype: str, shape: tuple[int, ...]) -> None:
    # Given
    array = np.ones(shape, dtype)
    # When
    received = read_inline(inline(NumpyVector.from_arrays({"a": array}))).arrays()["a"]
    # Then
    assert (received.dtype.name, received.shape) == (dtype, shape)
    assert np.array_equal(received, array)


def test_no_tensors_at_all_travel_too() -> None:
    # When
    received = read_inline(inline(NumpyVector.from_arrays({})))
    # Then
    assert received.layout.specs == ()


def test_numbers_travel_little_endian_and_nothing_else_does() -> None:
    # Given
    vector = NumpyVector.from_arrays({"a": np.array([1.0, -2.0], np.float32), "b": np.array(258, np.int16)})
    # When
    tensors = inline(vector)
    # Then
    assert tensors.inline == bytes.fromhex("0000803f 000000c0 0201")


@given(vectors())
def test_the_digest_is_that_of_the_bytes_however_they_travel(vector: NumpyVector) -> None:
    # Given
    sha256 = hashlib.sha256(bytes(vector.pack())).digest()
    # When
    carried = inline(vector)
    stored = referring(vector.layout, BlobRef("stream", vector.layout.nbytes, 1, sha256))
    # Then
    assert carried.digest == stored.digest == sha256


@given(vectors(), st.integers(0, 2**40), st.integers(0, 2**32 - 1))
def test_a_reference_comes_back_as_it_was(vector: NumpyVector, size: int, chunks: int) -> None:
    # Given
    ref = BlobRef("fl.run.r.w.1.leader", size, chunks, digest(vector.pack()))
    # When
    received = Tensors.FromString(referring(vector.layout, ref).SerializeToString())
    # Then
    assert blob_ref(received) == ref
    assert read_layout(received.layout) == vector.layout


def test_what_is_inline_is_nowhere_else() -> None:
    # When
    tensors = inline(a_vector())
    # Then
    assert blob_ref(tensors) is None


@given(wire_tensors)
def test_a_parcel_holds_tensors_as_they_were_under_their_digest(tensors: Tensors) -> None:
    # When
    packed = parcel(tensors)
    # Then
    assert packed.digest == tensors.digest
    assert open_parcel(packed) == tensors
    assert parcel(open_parcel(packed)) == packed


def test_a_parcel_of_something_else_is_refused() -> None:
    # Then
    with pytest.raises(BadMessage, match="does not hold tensors"):
        # When
        open_parcel(Parcel(b"digest", b"\xff"))


def test_a_vector_is_read_without_a_copy() -> None:
    # Given
    tensors = inline(a_vector())
    buffer = bytearray(tensors.inline)
    # When
    vector = unpack(tensors, buffer)
    # Then
    assert np.shares_memory(vector.flat, np.frombuffer(buffer, np.uint8))


# ---- lies -----------------------------------------------------------------------------------------------------------


def told(*specs: TensorSpec, data: bytes = b"", sha256: bytes | None = None) -> Tensors:
    return Tensors(layout=specs, digest=digest(data) if sha256 is None else sha256, inline=data)


FLOAT = TensorSpec(name="w", dtype="float32", shape=[1])


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param(told(FLOAT, data=bytes(5)), "take 4 bytes, but 5 were given", id="too long"),
        pytest.param(told(FLOAT, data=bytes(3)), "take 4 bytes, but 3 were given", id="too short"),
        pytest.param(told(FLOAT, data=bytes(4), sha256=digest(b"1234")), "do not have the digest", id="other bytes"),
        pytest.param(told(FLOAT, data=bytes(4), sha256=b""), "do not have the digest", id="no digest"),
        pytest.param(told(FLOAT, FLOAT, data=bytes(8)), "'w' comes twice", id="a name twice"),
        pytest.param(
            told(FLOAT, TensorSpec(name="v", dtype="float64", shape=[1]), data=bytes(12)),
            "one float dtype",
            id="two float dtypes",
        ),
        pytest.param(
            told(TensorSpec(name="w", dtype="object", shape=[1]), data=bytes(8)),
            "dtype 'object' is none of",
            id="a dtype that no vector has",
        ),
        pytest.param(
            told(TensorSpec(name="w", dtype="float32", shape=[0, 2**62])), "array is too big", id="an impossible length"
        ),
        pytest.param(
            told(TensorSpec(name="w", dtype="float32", shape=[1] * 65), data=bytes(4)),
            "maximum supported dimension",
            id="too many dimensions",
        ),
    ],
)
def test_tensors_that_lie_are_refused(tensors: Tensors, reason: str) -> None:
    # Then
    with pytest.raises(BadMessage, match=reason):
        # When
        read_inline(tensors)


@given(any_tensors())
def test_whatever_anybody_sends_is_refused_or_has_its_tensors(tensors: Tensors) -> None:
    # When
    try:
        arrays = read_inline(tensors).arrays()
    except BadMessage:
        return
    # Then
    told = {spec.name: (spec.dtype, tuple(spec.shape)) for spec in tensors.layout}
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == told
