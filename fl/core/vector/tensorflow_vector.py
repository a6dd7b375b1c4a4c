"""Vectors of TensorFlow tensors, on whichever device."""

from collections.abc import Mapping
from numbers import Real
from typing import Any, Self

import numpy as np
import tensorflow as tf

from fl.core.layout import Layout, TensorSpec
from fl.core.vector.api import Formula, Vector
from fl.core.vector.numpy_vector import NumpyVector

WORTH_A_GRAPH = 1 << 16
"""Elements from which on tracing a formula pays within few steps."""
Tensor = Any
"""A `tf.Tensor`, which is never written into: what looks like in-place arithmetic gives a new vector."""


class TensorflowVector(Vector):
    """A vector of TensorFlow tensors, all on one device; results stay there."""

    __slots__ = ()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Self:
        """Copy tensors or variables into one buffer, in the mapping's order. Raises `ValueError` on mixed dtypes."""
        items = {name: tf.convert_to_tensor(item) for name, item in arrays.items()}
        layout = Layout(tuple(TensorSpec(name, item.dtype.name, tuple(item.shape)) for name, item in items.items()))
        floats = [tf.reshape(item, [-1]) for item in items.values() if item.dtype.is_floating]
        flat = tf.concat(floats, 0) if floats else tf.zeros([0])
        return cls(layout, flat, tuple(item for item in items.values() if not item.dtype.is_floating))

    @classmethod
    def from_numpy(cls, vector: NumpyVector, device: str = "CPU:0") -> Self:
        """The same values on a device, such as "GPU:0"."""
        with tf.device(device):
            return cls(vector.layout, tf.constant(vector.flat), tuple(tf.constant(item) for item in vector.others))

    @property
    def device(self) -> str:
        """Name of the device, in full."""
        return str(self.flat.device)

    def _operand(self, other: object) -> Any:
        if type(other) is float or type(other) is int:
            return other
        if isinstance(other, TensorflowVector):
            return self._flat_of(other)
        if isinstance(other, NumpyVector):
            with tf.device(self.flat.device):
                return tf.constant(self._flat_of(other))
        if tf.is_tensor(other):  # a scalar, in a formula that is traced
            return tf.cast(other, self.flat.dtype)
        return float(other) if isinstance(other, Real) else NotImplemented

    def _required(self, other: object) -> Any:
        value = self._operand(other)
        if value is NotImplemented:
            raise TypeError(f"expected a number or a TensorflowVector, got {type(other).__name__}")
        return value

    def _shaped(self, flat: Tensor, shape: tuple[int, ...]) -> Tensor:
        return tf.reshape(flat, shape)

    def sign(self) -> Self:
        return self._like(tf.sign(self.flat))

    def sqrt(self) -> Self:
        return self._like(tf.sqrt(self.flat))

    def minimum(self, other: object) -> Self:
        return self._like(tf.minimum(self.flat, self._required(other)))

    def maximum(self, other: object) -> Self:
        return self._like(tf.maximum(self.flat, self._required(other)))

    def sum(self) -> float:
        return float(tf.reduce_sum(tf.cast(self.flat, tf.float64)))

    def dot(self, other: Vector) -> float:
        left, right = (tf.cast(flat, tf.float64) for flat in (self.flat, self._required(other)))
        return float(tf.tensordot(left, right, 1))

    def tensor_norms(self) -> Tensor:
        squares = tf.square(tf.cast(self.flat, tf.float64))
        sums = tf.math.unsorted_segment_sum(squares, self._owners(), len(self.layout.float_specs))
        return tf.cast(tf.sqrt(sums), self.flat.dtype)

    def scale_tensors(self, factors: Tensor) -> Self:
        return self._like(self.flat * tf.gather(factors, self._owners()))

    def clip_tensors(self, max_norm: float) -> Self:
        return self.scale_tensors(max_norm / tf.maximum(self.tensor_norms(), max_norm))

    def compiled(self, formula: Formula) -> Formula:
        """One graph, which is traced once, when the size is worth that; the number is a float64 in it."""
        if self.layout.float_size < WORTH_A_GRAPH:
            return formula

        kind, layout, others = type(self), self.layout, self.others

        def like(flat: Tensor) -> TensorflowVector:
            return kind(layout, flat, others)

        def of_tensors(t: Tensor, flats: list[Tensor]) -> list[Tensor]:
            return [result.flat for result in formula(t, *map(like, flats))]

        graph = tf.function(of_tensors, autograph=False)

        def of_vectors(t: int, *vectors: Vector) -> tuple[Vector, ...]:
            return tuple(map(like, graph(tf.constant(t, tf.float64), [vector.flat for vector in vectors])))

        return of_vectors

    def _owners(self) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
        """Of each element, the place of its tensor among the float tensors."""
        sizes = self.layout.float_sizes
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    def zeros_like(self) -> Self:
        return type(self)(self.layout, tf.zeros_like(self.flat), tuple(map(tf.zeros_like, self.others)))

    def empty_like(self) -> Self:
        return self.zeros_like()

    def copy(self) -> Self:
        return self._like(self.flat)

    def astype(self, dtype: str) -> Self:
        return type(self)(self.layout.with_float_dtype(dtype), tf.cast(self.flat, dtype), self.others)

    def to_numpy(self) -> NumpyVector:
        return NumpyVector(self.layout, self.flat.numpy(), tuple(np.asarray(item.numpy()) for item in self.others))

    def is_finite(self) -> bool:
        return bool(tf.reduce_all(tf.math.is_finite(self.flat)))
