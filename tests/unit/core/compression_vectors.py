"""Vectors to compress, and payloads that come in chunks."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.compression import Compression
from fl.core.vector import Array, Layout, NumpyVector, Role

DTYPES = ["float16", "float32", "float64"]


def vector(values: npt.ArrayLike, dtype: str = "float32") -> NumpyVector:
    return NumpyVector.from_arrays({"w": np.asarray(values, dtype)})


def normal(size: int, dtype: str = "float32", *, seed: int = 0) -> NumpyVector:
    return vector(np.random.default_rng(seed).standard_normal(size), dtype)


def network(dtype: str = "float32") -> NumpyVector:
    """Tensors of every role and kind: floats of more than a cell, a statistic, a counter and a mask."""
    rng = np.random.default_rng(3)
    arrays = {
        "weight": rng.standard_normal((170, 200)).astype(dtype),
        "bias": rng.standard_normal(7).astype(dtype),
        "empty": np.zeros((0, 5), dtype),
        "mask": rng.random(9) < 0.5,
        "variance": rng.random(11).astype(dtype),
        "seen": np.array(2**40 + 1),
    }
    roles = {"variance": Role.BUFFER, "seen": Role.FIXED}
    return NumpyVector.from_arrays(arrays, roles)


def in_chunks(compression: Compression, layout: Layout, payload: bytes, cuts: list[int]) -> NumpyVector:
    """What a decoder gives for a payload that is cut at these places; every float must come once, and in order."""
    decoder = compression.decoder(layout)
    decoded: list[Array] = []
    for start, stop in pairwise([0, *sorted(cuts), len(payload)]):
        for first, values in decoder.feed(payload[start:stop]):
            assert first == sum(map(len, decoded))
            decoded.append(values.copy())
    others = decoder.finish()
    return NumpyVector(layout, np.concatenate([*decoded, np.zeros(0, layout.float_dtype)]), others)


def floats(dtype: str, size: int | st.SearchStrategy[int]) -> st.SearchStrategy[Array]:
    """Finite floats of all sizes, subnormal ones among them."""
    width = np.dtype(dtype).itemsize * 8
    return hnp.arrays(dtype, size, elements=st.floats(allow_nan=False, allow_infinity=False, width=width))  # type: ignore[arg-type]  # one of 16, 32, 64
