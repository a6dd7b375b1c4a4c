"""What a vector promises, whatever framework its buffers are of.

Arithmetic is element-wise over the floats. Integer and boolean tensors are kept apart and take no part in it: a
result carries those of its left operand. Scalars never change a vector's dtype. A numpy vector beside one of another
framework gives one of that framework, on its device.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from fl.core.layout import Layout, Role, TensorSpec, check_same

if TYPE_CHECKING:
    from fl.core.vector.numpy_vector import NumpyVector

Formula = Callable[..., tuple["Vector", ...]]
"""Of a step's number, and of vectors. What is computed from the number may become a scalar tensor of a framework."""


class Vector(ABC):
    """Named tensors of one framework. The constructor shares the buffers it is given.

    A backend has `flat`, a 1-D tensor of all floats with the operators of its framework, and says what has no
    operator. Vectors of different layouts do not mix: `ValueError` names the first tensor that differs.
    """

    __slots__ = ("flat", "layout", "others")
    __array_ufunc__ = None  # so that `np.float64(2) * vector` asks the vector

    flat: Any
    layout: Layout
    others: tuple[Any, ...]
    """Integer and boolean tensors, in layout order."""

    def __init__(self, layout: Layout, flat: Any, others: tuple[Any, ...] = ()) -> None:
        self.layout = layout
        self.flat = flat
        self.others = others

    @abstractmethod
    def _operand(self, other: object) -> Any:
        """`other` as what may stand beside `flat` in an operator, or NotImplemented. Raises `ValueError`."""

    def _like(self, flat: Any) -> Self:
        """A vector of this layout, and with these integer tensors, over another float buffer."""
        return type(self)(self.layout, flat, self.others)

    def _flat_of(self, other: "Vector") -> Any:
        """The buffer of a vector that must have this one's layout."""
        if other.layout is not self.layout:
            check_same(self.layout, other.layout)
        return other.flat

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

    def arrays(self) -> dict[str, Any]:
        """Every tensor by its name, as views where the framework has them."""
        views: dict[str, Any] = {}
        others = iter(self.others)
        start = 0
        for spec in self.layout.specs:
            if spec.is_float:
                views[spec.name] = self._shaped(self.flat[start : start + spec.size], spec.shape)
                start += spec.size
            else:
                views[spec.name] = next(others)
        return views

    def select(self, *roles: Role) -> Self:
        """The tensors of these roles alone, sharing memory where the framework can. No role may lie between them."""
        layout = self.layout.select(*roles)
        if layout.specs == self.layout.specs:
            return self
        first = self.layout.specs.index(layout.specs[0]) if layout.specs else 0
        if layout.specs != self.layout.specs[first : first + len(layout.specs)]:
            raise ValueError(f"tensors of {' and '.join(roles)} do not lie side by side in this vector")
        before = self.layout.specs[:first]
        start = sum(spec.size for spec in before if spec.is_float)
        skipped = sum(not spec.is_float for spec in before)
        others = self.others[skipped : skipped + len(layout.other_specs)]
        return type(self)(layout, self.flat[start : start + layout.float_size], others)

    def like(self, values: "Vector") -> Self:
        """Values of any framework as a vector of this one's; numpy's go to this device. Memory may be shared.

        Raises `ValueError` naming the first tensor in which the layouts differ.
        """
        return self._like(self._operand(values if isinstance(values, type(self)) else values.to_numpy()))

    def ewma(self, other: "Vector", beta: float) -> Self:
        """beta·self + (1 - beta)·other; writes into this vector, where its framework can, and returns it."""
        change = other - self
        change *= 1.0 - beta
        self += change
        return self

    def compiled(self, formula: "Formula") -> "Formula":
        """A formula of a number and vectors of this layout, as fast as its framework can have it on this size."""
        return formula

    def blocks(self) -> Iterator[Self]:
        """Parts of the floats, in order, each small enough for what is computed from it to stay in the cache.

        Writing into a part writes into the vector. Parts of equal place of different vectors may be mixed; they have
        the layout of the whole, which says nothing of what is in them. A single part, the vector itself, where its
        framework does better so.
        """
        yield self

    @abstractmethod
    def _shaped(self, flat: Any, shape: tuple[int, ...]) -> Any:
        """A part of the buffer as a tensor."""

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
        """Of all elements, in float64."""

    @abstractmethod
    def dot(self, other: "Vector") -> float:
        """Inner product over all elements, in float64."""

    def norm(self) -> float:
        """Euclidean norm over all elements."""
        return math.sqrt(self.dot(self))

    @abstractmethod
    def tensor_norms(self) -> Any:
        """Euclidean norm of each float tensor, in layout order: a 1-D tensor of the framework."""

    @abstractmethod
    def scale_tensors(self, factors: Any) -> Self:
        """Each float tensor times its own factor; `factors` is a 1-D tensor of the framework."""

    @abstractmethod
    def clip_tensors(self, max_norm: float) -> Self:
        """Each float tensor times min(1, max_norm / its norm)."""

    @abstractmethod
    def zeros_like(self) -> Self:
        """Floats and integers all zero."""

    @abstractmethod
    def empty_like(self) -> Self:
        """Floats of any value, to be written; the same integers."""

    @abstractmethod
    def copy(self) -> Self: ...

    @abstractmethod
    def astype(self, dtype: str) -> Self:
        """Floats cast to `dtype`; integer tensors stay as they are."""

    @abstractmethod
    def to_numpy(self) -> "NumpyVector":
        """The same values as what travels and what servers compute with; shares memory where it can."""

    @abstractmethod
    def is_finite(self) -> bool:
        """Whether no float is a NaN or an infinity."""

    def first_nonfinite(self) -> str | None:
        """Name of the first tensor that holds a NaN or an infinity."""
        if self.is_finite():
            return None
        start = 0
        for spec in self.layout.float_specs:
            part = TensorSpec(spec.name, spec.dtype, (spec.size,))
            if not type(self)(Layout((part,)), self.flat[start : start + spec.size]).is_finite():
                return spec.name
            start += spec.size
        raise AssertionError("one of the tensors holds what the buffer holds")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(spec) for spec in self.layout.specs)})"
