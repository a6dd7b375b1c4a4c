"""Vectors of numpy arrays: what travels, what servers compute with, and what scikit-learn's models are of."""

from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from fl.core.layout import Layout, Role, TensorSpec
from fl.core.vector.api import Vector

Array = npt.NDArray[Any]
TakeFloats: TypeAlias = Callable[[int, Array], None]
"""Takes a part of a vector's floats: the place of the first, and the values, which are not kept."""

CHUNK = 1 << 16
"""Elements handled at a time where a temporary of the buffer's size would cost memory: 512 KiB of float64."""

BLOCK_BYTES = 120_000
"""Of a part whose temporaries stay in the cache: just below what malloc asks the system for each time anew."""


def chunks(size: int) -> Iterator[slice]:
    """Slices that cover `size` elements in order."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


def zeros(size: int, dtype: str) -> Array:
    """Zeros to add to, which are there: those of `np.zeros` are one page of the system's until they are first touched.

    If that is to read them, each page is fetched twice, and the sum of a large model takes ten times as long.
    """
    values = np.empty(size, dtype)
    values.fill(0)
    return values


class NumpyVector(Vector):
    """A vector of numpy arrays."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # vectors are mutable

    flat: Array
    others: tuple[Array, ...]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.ArrayLike], roles: Mapping[str, Role] | None = None) -> Self:
        """Copy arrays into one buffer, in the mapping's order; those without a role are trainable.

        Raises `ValueError` on mixed or strange dtypes.
        """
        items = {name: np.asarray(array) for name, array in arrays.items()}
        known = roles or {}
        layout = Layout(
            tuple(
                TensorSpec(name, array.dtype.name, array.shape, known.get(name, Role.TRAINABLE))
                for name, array in items.items()
            )
        )
        vector = cls.zeros(layout)
        for name, view in vector.arrays().items():
            view[...] = items[name]
        return vector

    @classmethod
    def join(cls, *parts: "NumpyVector") -> Self:
        """The tensors of all parts, copied into one vector. Raises `ValueError` where they do not go together."""
        layout = Layout(tuple(spec for part in parts for spec in part.layout.specs))
        flat = np.concatenate([part.flat for part in parts if part.flat.size] or [np.zeros(0, layout.float_dtype)])
        return cls(layout, flat, tuple(array.copy() for part in parts for array in part.others))

    @classmethod
    def zeros(cls, layout: Layout) -> Self:
        others = tuple(np.zeros(spec.shape, spec.dtype) for spec in layout.other_specs)
        return cls(layout, zeros(layout.float_size, layout.float_dtype), others)

    @classmethod
    def unpack(cls, layout: Layout, data: bytes | bytearray | memoryview) -> Self:
        """Read what `pack` wrote, without a copy: the vector is as writable as `data` is.

        Raises `ValueError` when `data` is not as long as the layout says.
        """
        data = memoryview(data).cast("B")
        if data.nbytes != layout.nbytes:
            raise ValueError(f"these tensors take {layout.nbytes} bytes, but {data.nbytes} were given")
        flat = _read(data, layout.float_dtype, layout.float_size)
        others, start = [], flat.nbytes
        for spec in layout.other_specs:
            others.append(_read(data[start:], spec.dtype, spec.size).reshape(spec.shape))
            start += spec.nbytes
        return cls(layout, flat, tuple(others))

    def pack(self) -> memoryview:
        """Little-endian bytes: the float buffer, then each other tensor, in layout order.

        Without integer tensors this is the buffer itself and no copy.
        """
        parts = [_little_endian(array) for array in (self.flat, *self.others)]
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def arrays(self) -> dict[str, Array]:
        """Every tensor by its name, as views."""
        return super().arrays()

    def _shaped(self, flat: Array, shape: tuple[int, ...]) -> Array:
        return flat.reshape(shape)

    def _operand(self, other: object) -> Any:
        if type(other) is float or type(other) is int:
            return other
        if isinstance(other, NumpyVector):
            return self._flat_of(other)
        # numpy's own scalars would turn float32 into float64
        return float(other) if isinstance(other, Real) else NotImplemented

    def __iadd__(self, other: object) -> Self:
        return self._in_place(np.add, other)

    def __isub__(self, other: object) -> Self:
        return self._in_place(np.subtract, other)

    def __imul__(self, other: object) -> Self:
        return self._in_place(np.multiply, other)

    def __itruediv__(self, other: object) -> Self:
        return self._in_place(np.true_divide, other)

    def __ipow__(self, other: object) -> Self:
        return self._in_place(np.power, other)

    def _in_place(self, operator: np.ufunc, other: object) -> Self:
        operator(self.flat, self._required(other), out=self.flat)
        return self

    def __eq__(self, other: object) -> bool:
        """Whether layouts and all values are the same, exactly; NaN differs from itself."""
        if not isinstance(other, NumpyVector):
            return NotImplemented
        mine, theirs = (self.flat, *self.others), (other.flat, *other.others)
        return self.layout == other.layout and all(map(np.array_equal, mine, theirs))

    def sign(self) -> Self:
        return self._like(np.sign(self.flat))

    def sqrt(self) -> Self:
        return self._like(np.sqrt(self.flat))

    def minimum(self, other: object) -> Self:
        if isinstance(other, Vector) and not isinstance(other, NumpyVector):
            return other.minimum(self)  # type: ignore[return-value]  # the other framework's, as with operators
        return self._like(np.minimum(self.flat, self._required(other)))

    def maximum(self, other: object) -> Self:
        if isinstance(other, Vector) and not isinstance(other, NumpyVector):
            return other.maximum(self)  # type: ignore[return-value]  # likewise
        return self._like(np.maximum(self.flat, self._required(other)))

    def _required(self, other: object) -> Any:
        value = self._operand(other)
        if value is NotImplemented:
            raise TypeError(f"expected a number or a NumpyVector, got {type(other).__name__}")
        return value

    def sum(self) -> float:
        return float(self.flat.sum(dtype=np.float64))

    def dot(self, other: Vector) -> float:
        if not isinstance(other, NumpyVector):
            return other.dot(self)
        theirs = self._required(other)
        # numpy's own sum, and not BLAS: that splits the work over its threads, and gives other last bits on a machine
        # with another number of cores, where a leader's successor may be.
        parts = chunks(self.flat.size)
        return float(sum(np.multiply(self.flat[part], theirs[part], dtype=np.float64).sum() for part in parts))

    def tensor_norms(self) -> Array:
        sizes = np.array(self.layout.float_sizes, dtype=np.intp)
        filled = sizes > 0
        norms = np.zeros(len(sizes))
        squares = np.square(self.flat, dtype=np.float64)
        norms[filled] = np.sqrt(np.add.reduceat(squares, (np.cumsum(sizes) - sizes)[filled]))
        return norms.astype(self.flat.dtype)

    def scale_tensors(self, factors: Array) -> Self:
        return self._like(self.flat * np.repeat(factors, self.layout.float_sizes))

    def clip_tensors(self, max_norm: float) -> Self:
        return self.scale_tensors(max_norm / np.maximum(self.tensor_norms(), max_norm))

    def zeros_like(self) -> Self:
        return type(self).zeros(self.layout)

    def empty_like(self) -> Self:
        return self._like(np.empty_like(self.flat))

    def blocks(self) -> Iterator[Self]:
        size = BLOCK_BYTES // self.flat.itemsize
        if self.flat.size <= size:
            yield self
            return
        for start in range(0, self.flat.size, size):
            yield self._like(self.flat[start : start + size])

    def copy(self) -> Self:
        return type(self)(self.layout, self.flat.copy(), tuple(array.copy() for array in self.others))

    def astype(self, dtype: str) -> Self:
        others = tuple(array.copy() for array in self.others)
        return type(self)(self.layout.with_float_dtype(dtype), self.flat.astype(dtype), others)

    def to_numpy(self) -> "NumpyVector":
        return self

    def is_finite(self) -> bool:
        return all(np.isfinite(self.flat[part]).all() for part in chunks(self.flat.size))


def _read(data: memoryview, dtype: str, size: int) -> Array:
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), count=size)


def _little_endian(array: Array) -> memoryview:
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data
