"""Named tensors over one contiguous float buffer, with the arithmetic that optimizers and aggregators need."""

from fl.core.layout import SHARED, Layout, Role, TensorSpec, check_same
from fl.core.vector.api import Vector
from fl.core.vector.numpy_vector import CHUNK, Array, NumpyVector, TakeFloats, chunks, zeros

__all__ = [
    "CHUNK",
    "SHARED",
    "Array",
    "Layout",
    "NumpyVector",
    "Role",
    "TakeFloats",
    "TensorSpec",
    "Vector",
    "check_same",
    "chunks",
    "zeros",
]
