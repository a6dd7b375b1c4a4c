"""Arbitrary vectors and tensors for the tests of `fl.wire`."""

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from broker.blob import BlobRef
from fl.core.layout import FLOATS, ITEM_SIZES, OTHERS
from fl.core.vector import NumpyVector
from fl.wire.tensors import digest, inline, referring
from fl.wire.tensors_pb2 import BlobRef as Ref
from fl.wire.tensors_pb2 import Tensors, TensorSpec
from tests.unit.run.strategies import texts

shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def vectors(draw: st.DrawFn) -> NumpyVector:
    """Tensors of one float dtype, and of any others, in any order and of any shape."""
    float_dtype = draw(st.sampled_from(sorted(FLOATS)))
    dtypes = draw(st.lists(st.sampled_from([float_dtype, *sorted(OTHERS)]), max_size=4))
    names = draw(st.lists(texts, min_size=len(dtypes), max_size=len(dtypes), unique=True))
    pairs = zip(names, dtypes, strict=True)
    return NumpyVector.from_arrays({name: draw(arrays(dtype, shapes)) for name, dtype in pairs})


wire_tensors = vectors().map(inline) | vectors().map(
    lambda vector: referring(vector.layout, BlobRef("stream", vector.layout.nbytes, 1, digest(vector.pack())))
)
"""Tensors that make sense."""

lengths = st.integers(0, 3) | st.sampled_from([2**31, 2**62, 2**63, 2**64 - 1])
specs = st.builds(
    TensorSpec,
    name=texts,
    dtype=st.sampled_from([*ITEM_SIZES, "float31", ""]),
    shape=st.lists(lengths, max_size=3) | st.just([1] * 65),
)


@st.composite
def any_tensors(draw: st.DrawFn) -> Tensors:
    """Tensors that anybody could send: often with as many bytes as announced, and with their digest."""
    layout = draw(st.lists(specs, max_size=3))
    sizes = [math.prod(spec.shape) * ITEM_SIZES.get(spec.dtype, 1) for spec in layout]
    fitting: st.SearchStrategy[Any] = st.just(bytes(sum(sizes))) if sum(sizes) < 1000 else st.nothing()
    data = draw(fitting | st.binary(max_size=8))
    if draw(st.booleans()):
        return Tensors(layout=layout, digest=digest(data), inline=data)
    ref = Ref(stream=draw(texts), bytes=len(data), chunks=1, sha256=digest(data))
    return Tensors(layout=layout, digest=draw(st.binary(max_size=4)), ref=ref)


def same(left: NumpyVector, right: NumpyVector) -> bool:
    """Whether two vectors are the same to the last bit, NaN included."""
    return left.layout == right.layout and bytes(left.pack()) == bytes(right.pack())


def a_vector(size: int = 3) -> NumpyVector:
    return NumpyVector.from_arrays({"w": np.arange(size, dtype=np.float32), "steps": np.array(7)})
