"""The laws of every compression."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.core.compression import Bfloat16, Compression, Float16, Int8, TopK, Uncompressed
from fl.core.vector import Layout, NumpyVector, Role, TensorSpec
from fl.errors import ConfigError
from tests.unit.core.compression_vectors import DTYPES, floats, in_chunks, network, normal, vector

EVERY = [Uncompressed(), Bfloat16(), Float16(), Int8(), Int8(3), TopK(), TopK(0.37), TopK(1.0)]
"""A new compression is one line here, and held to every law below."""

every = pytest.mark.parametrize("compression", EVERY, ids=lambda one: f"{one.name}-{one.get_config()}")
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
fewer = settings(max_examples=40, deadline=None)  # on machines that may be busy


def test_every_compression_that_exists_is_held_to_these_laws() -> None:
    ours = set(filter(Compression.registry.is_builtin, Compression.registry.names()))

    assert {one.name for one in EVERY} == ours


@every
def test_a_compression_is_built_again_from_its_name_and_options(compression: Compression) -> None:
    again = Compression.registry.build((compression.name, compression.get_config()))

    assert type(again) is type(compression)
    assert again.get_config() == compression.get_config()


@every
@every_dtype
def test_a_payload_is_as_long_as_its_layout_says(compression: Compression, dtype: str) -> None:
    tensors = network(dtype)

    assert compression.encode(tensors).nbytes == compression.nbytes(tensors.layout)


@every
@every_dtype
def test_statistics_and_integers_travel_exactly(compression: Compression, dtype: str) -> None:
    tensors = network(dtype)

    decoded = compression.decode(tensors.layout, compression.encode(tensors)).arrays()

    for name in ("variance", "mask", "seen"):
        np.testing.assert_array_equal(decoded[name], tensors.arrays()[name])


@every
@fewer
@given(data=st.data())
def test_decoding_in_pieces_of_any_lengths_is_decoding_the_whole(compression: Compression, data: st.DataObject) -> None:
    # Given a payload, cut anywhere, also within a float and twice at one place
    tensors = network(data.draw(st.sampled_from(DTYPES)))
    payload = bytes(compression.encode(tensors))
    cuts = data.draw(st.lists(st.integers(0, len(payload)), max_size=30))
    # When it is decoded as it comes
    decoded = in_chunks(compression, tensors.layout, payload, cuts)
    # Then it is what all of it at once gives
    assert decoded == compression.decode(tensors.layout, payload)


@every
def test_decoding_byte_by_byte_is_decoding_the_whole(compression: Compression) -> None:
    tensors = NumpyVector.from_arrays({"a": normal(37).flat, "count": np.array([1, 2]), "b": normal(5).flat})
    payload = bytes(compression.encode(tensors))

    decoded = in_chunks(compression, tensors.layout, payload, list(range(len(payload))))

    assert decoded == compression.decode(tensors.layout, payload)


@every
@every_dtype
def test_the_decoded_floats_have_the_dtype_of_the_model(compression: Compression, dtype: str) -> None:
    tensors = network(dtype)

    assert compression.decode(tensors.layout, compression.encode(tensors)).flat.dtype == dtype


@every
@fewer
@given(data=st.data())
def test_what_has_been_decoded_is_decoded_to_itself(compression: Compression, data: st.DataObject) -> None:
    # Given what a payload decodes to, of any finite values
    dtype = data.draw(st.sampled_from(DTYPES))
    tensors = vector(data.draw(floats(dtype, st.integers(1, 40))), dtype)
    decoded = compression.decode(tensors.layout, compression.encode(tensors))
    # When it is encoded once more
    again = compression.decode(tensors.layout, compression.encode(decoded))
    # Then nothing more is lost, but for the rounding of int8's scales
    np.testing.assert_allclose(again.flat, decoded.flat, rtol=1e-6 if compression.name == "int8" else 0)


@every
def test_encoding_leaves_a_vector_as_it_is(compression: Compression) -> None:
    tensors = network()
    before = tensors.copy()

    compression.encode(tensors)

    assert tensors == before


@every
def test_a_vector_without_floats_travels(compression: Compression) -> None:
    tensors = NumpyVector.from_arrays({"count": np.array([3, 4])})

    assert compression.decode(tensors.layout, compression.encode(tensors)) == tensors


@every
def test_a_vector_without_tensors_is_no_bytes(compression: Compression) -> None:
    nothing = NumpyVector.from_arrays({})

    assert compression.encode(nothing).nbytes == 0
    assert compression.decoder(nothing.layout).finish() == ()


@every
@pytest.mark.parametrize("roles", [{}, {"w": Role.BUFFER}], ids=["trainable", "buffer"])
def test_a_payload_that_ends_too_early_is_refused(compression: Compression, roles: dict[str, Role]) -> None:
    tensors = NumpyVector.from_arrays({"w": normal(50).flat}, roles)
    payload = bytes(compression.encode(tensors))
    decoder = compression.decoder(tensors.layout)
    list(decoder.feed(payload[:-1]))

    with pytest.raises(ValueError, match=f"{compression.name}: these tensors take {len(payload)} bytes: .* came"):
        decoder.finish()


@every
def test_a_payload_that_goes_on_after_its_end_is_refused(compression: Compression) -> None:
    tensors = network()
    payload = bytes(compression.encode(tensors))
    decoder = compression.decoder(tensors.layout)
    list(decoder.feed(payload))

    with pytest.raises(ValueError, match=f"{compression.name}: these tensors take {len(payload)} bytes: at least"):
        list(decoder.feed(b"."))


@every
@pytest.mark.parametrize("change", [b"", b".."])
def test_a_whole_payload_of_another_length_is_refused(compression: Compression, change: bytes) -> None:
    tensors = network()
    payload = bytes(compression.encode(tensors))[:-1] + change

    with pytest.raises(ValueError, match=f"these tensors take {len(payload) + 1 - len(change)} bytes"):
        compression.decode(tensors.layout, payload)


@every
def test_a_made_up_layout_of_any_size_is_refused_at_once(compression: Compression) -> None:
    # Given tensors that no memory holds, and of whose cells nobody lives to see the last
    layout = Layout((TensorSpec("w", "float32", (2**30, 2**30)),))

    with pytest.raises(ValueError, match="these tensors take"):
        compression.decode(layout, b"few bytes")


@every
@fewer
@given(data=st.data())
def test_arbitrary_bytes_give_a_vector_or_a_value_error(compression: Compression, data: st.DataObject) -> None:
    layout = normal(9).layout
    payload = data.draw(st.binary(min_size=compression.nbytes(layout), max_size=compression.nbytes(layout)))

    try:
        decoded = compression.decode(layout, payload)
    except ValueError:
        return

    assert decoded.flat.shape == (9,)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    # Given: a program that encodes as many floats as BLAS would split over its threads, by every compression
    program = (
        "import hashlib; import numpy as np; from fl.core.compression import Compression\n"
        "from fl.core.vector import NumpyVector\n"
        "v = NumpyVector.from_arrays({'x': np.random.default_rng(0).normal(size=300_001).astype('float32')})\n"
        f"for name, config in {[(one.name, one.get_config()) for one in EVERY]!r}:\n"
        "    c = Compression.registry.build((name, config))\n"
        "    p = c.encode(v)\n"
        "    print(hashlib.sha256(p).hexdigest(), hashlib.sha256(c.decode(v.layout, p).pack()).hexdigest())\n"
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


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), True, "0.1"])
def test_a_share_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"topk: share is .*: use a number above 0 and up to 1"):
        TopK(share)


@pytest.mark.parametrize("block", [0, -1, 16_385, 2.5, True])
def test_a_block_that_is_no_length_is_refused(block: int) -> None:
    with pytest.raises(ConfigError, match="int8: block is"):
        Int8(block)
