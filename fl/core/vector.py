"""Named tensors over one contiguous float buffer, with the arithmetic that optimizers and aggregators need.

Arithmetic is element-wise over the floats. Integer and boolean tensors are kept apart and take no part in it: a
result carries those of its left operand. Scalars never change a vector's dtype.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fl.core.layout import Layout, TensorSpec, check_same

__all__ = ["Layout", "NumpyVector", "TensorSpec", "Vector", "check_same"]

Array = npt.NDArray[Any]
CHUNK = 1 << 16
"""Elements handled at a time where a temporary of the buffer's size would cost memory: 512 KiB of float64."""


def chunks(size: int) -> Iterator[slice]:
    """Slices that cover `size` elements in order."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


class Vector(ABC):
    """Named tensors of one framework.

    A backend gives `flat`, a 1-D tensor of all floats with the operators of its framework, and what has no operator.
    Vectors of different layouts do not mix: `ValueError` names the first tensor that differs.
    """

    __slots__ = ("flat", "layout")
    __array_ufunc__ = None  # so that `np.float64(2) * vector` asks the vector

    flat: Any
    layout: Layout

    @abstractmethod
    def _like(self, flat: Any) -> Self:
        """A vector of this layout, and with these integer tensors, over another float buffer."""

    @abstractmethod
    def _operand(self, other: object) -> Any:
        """`other` as what may stand beside `flat` in an operator, or NotImplemented. Raises `ValueError`."""

    def __add__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(self.flat + value)

    def __radd__(self, other: object) -> Self:
        return self.__add__(other)

    def __sub__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(self.flat - value)

    def __rsub__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(value - self.flat)

    def __mul__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(self.flat * value)

    def __rmul__(self, other: object) -> Self:
        return self.__mul__(other)

    def __truediv__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(self.flat / value)

    def __rtruediv__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(value / self.flat)

    def __pow__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(self.flat**value)

    def __rpow__(self, other: object) -> Self:
        value = self._operand(other)
        return value if value is NotImplemented else self._like(value**self.flat)

    def __neg__(self) -> Self:
        return self._like(-self.flat)

    @abstractmethod
    def arrays(self) -> dict[str, Any]:
        """Every tensor by its name, as views where the framework has them."""

    @abstractmethod
    def sign(self) -> Self: ...

    @abstractmethod
    def sqrt(self) -> Self: ...

    @abstractmethod
    def minimum(self, other: object) -> Self:
        """Element-wise, with a scalar or a vector."""

    @abstractmethod
    def maximum(self, other: object) -> Self:
        """Element-wise, with a scalar or a vector."""

    @abstractmethod
    def sum(self) -> float:
        """Of all elements."""

    @abstractmethod
    def dot(self, other: Self) -> float:
        """Inner product over all elements."""

    def norm(self) -> float:
        """Euclidean norm over all elements."""
        return math.sqrt(self.dot(self))

    @abstractmethod
    def zeros_like(self) -> Self:
        """Floats and integers all zero."""

    @abstractmethod
    def copy(self) -> Self: ...

    @abstractmethod
    def astype(self, dtype: str) -> Self:
        """Floats cast to `dtype`; integer tensors stay as they are."""

    @abstractmethod
    def to_numpy(self) -> "NumpyVector":
        """The same values as what travels and what servers compute with; shares memory where it can."""

    @abstractmethod
    def first_nonfinite(self) -> str | None:
        """Name of the first tensor that holds a NaN or an infinity."""

    def is_finite(self) -> bool:
        return self.first_nonfinite() is None


class NumpyVector(Vector):
    """A vector of numpy arrays. The constructor shares the buffers it is given."""

    __slots__ = ("others",)
    __hash__ = None  # type: ignore[assignment]  # vectors are mutable

    flat: Array
    others: tuple[Array, ...]

    def __init__(self, layout: Layout, flat: Array, others: tuple[Array, ...] = ()) -> None:
        self.layout = layout
        self.flat = flat
        self.others = others

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.ArrayLike]) -> Self:
        """Copy arrays into one buffer, in the mapping's order. Raises `ValueError` on mixed or strange dtypes."""
        items = {name: np.asarray(array) for name, array in arrays.items()}
        layout = Layout(tuple(TensorSpec(name, array.dtype.name, array.shape) for name, array in items.items()))
        vector = cls.zeros(layout)
        for name, view in vector.arrays().items():
            view[...] = items[name]
        return vector

    @classmethod
    def zeros(cls, layout: Layout) -> Self:
        others = tuple(np.zeros(spec.shape, spec.dtype) for spec in layout.other_specs)
        return cls(layout, np.zeros(layout.float_size, layout.float_dtype), others)

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
        views: dict[str, Array] = {}
        others = iter(self.others)
        start = 0
        for spec in self.layout.specs:
            if spec.is_float:
                views[spec.name] = self.flat[start : start + spec.size].reshape(spec.shape)
                start += spec.size
            else:
                views[spec.name] = next(others)
        return views

    def _like(self, flat: Array) -> Self:
        return type(self)(self.layout, flat, self.others)

    def _operand(self, other: object) -> Any:
        if type(other) is float or type(other) is int:
            return other
        if isinstance(other, NumpyVector):
            if other.layout is not self.layout:
                check_same(self.layout, other.layout)
            return other.flat
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
        return self._like(np.minimum(self.flat, self._required(other)))

    def maximum(self, other: object) -> Self:
        return self._like(np.maximum(self.flat, self._required(other)))

    def _required(self, other: object) -> Any:
        value = self._operand(other)
        if value is NotImplemented:
            raise TypeError(f"expected a number or a NumpyVector, got {type(other).__name__}")
        return value

    def sum(self) -> float:
        return float(self.flat.sum(dtype=np.float64))

    def dot(self, other: Self) -> float:
        """Inner product, summed in float64 whatever the vectors' dtype."""
        theirs = self._required(other)
        if self.flat.dtype == np.float64:
            return float(np.dot(self.flat, theirs))
        parts = chunks(self.flat.size)
        return float(sum(np.dot(self.flat[part].astype(np.float64), theirs[part]) for part in parts))

    def zeros_like(self) -> Self:
        return type(self).zeros(self.layout)

    def copy(self) -> Self:
        return type(self)(self.layout, self.flat.copy(), tuple(array.copy() for array in self.others))

    def astype(self, dtype: str) -> Self:
        others = tuple(array.copy() for array in self.others)
        return type(self)(self.layout.with_float_dtype(dtype), self.flat.astype(dtype), others)

    def to_numpy(self) -> "NumpyVector":
        return self

    def is_finite(self) -> bool:
        return all(np.isfinite(self.flat[part]).all() for part in chunks(self.flat.size))

    def first_nonfinite(self) -> str | None:
        if self.is_finite():
            return None
        return next(name for name, array in self.arrays().items() if not np.isfinite(array).all())

    def __repr__(self) -> str:
        return f"NumpyVector({', '.join(str(spec) for spec in self.layout.specs)})"


def _read(data: memoryview, dtype: str, size: int) -> Array:
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), count=size)


def _little_endian(array: Array) -> memoryview:
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return array.reshape(-1).view(np.uint8).data
