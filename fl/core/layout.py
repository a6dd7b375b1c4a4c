"""Names, dtypes and shapes of a vector's tensors, and where each lies in its buffers."""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

FLOATS: Final = {"float16": 2, "float32": 4, "float64": 8}
OTHERS: Final = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8
}  # fmt: skip
ITEM_SIZES: Final = FLOATS | OTHERS
"""Bytes per element of every dtype a vector may hold."""


class Role(StrEnum):
    """What becomes of a model's tensor in a run. Tensors of a layout come in this order."""

    TRAINABLE = "trainable"
    """Changed by training steps; in every update, and in what the server's optimizer sees."""
    BUFFER = "buffer"
    """Changed by running the model, as BatchNorm's statistics are; in every update, and averaged as it is."""
    FIXED = "fixed"
    """Sent once, when a run starts: frozen parameters, counters, statistics that each site keeps to itself."""


SHARED: Final = (Role.TRAINABLE, Role.BUFFER)
"""Of the tensors that travel in every round."""

_PLACES: Final = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a vector, without its values."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: Role = Role.TRAINABLE

    def __post_init__(self) -> None:
        if self.dtype not in ITEM_SIZES:
            raise ValueError(f"tensor {self.name!r}: dtype {self.dtype!r} is none of {', '.join(ITEM_SIZES)}")
        if any(length < 0 for length in self.shape):
            raise ValueError(f"tensor {self.name!r}: shape {self.shape} has a negative length")

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * ITEM_SIZES[self.dtype]

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def __str__(self) -> str:
        kind = "" if self.role is Role.TRAINABLE else f"{self.role} "
        return f"{self.name}: {kind}{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of a vector, in order: floats in one buffer of one dtype, each other tensor in its own.

    Raises `ValueError` when a name comes twice, when two float dtypes are mixed, or when roles are not in their order.
    """

    specs: tuple[TensorSpec, ...]
    float_dtype: str = field(init=False, repr=False, compare=False)
    float_size: int = field(init=False, repr=False, compare=False)
    nbytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"tensor {twice!r} comes twice in one layout")
        order = [_PLACES[spec.role] for spec in self.specs]
        if order != sorted(order):
            raise ValueError(
                f"tensors come in the order {', '.join(Role)}, but these are: {', '.join(map(str, self.specs))}"
            )
        floats = self.float_specs
        first = floats[0] if floats else None
        for spec in floats:
            if first is not None and spec.dtype != first.dtype:
                raise ValueError(f"one vector holds one float dtype, but has {first} and {spec}: cast one of them")
        object.__setattr__(self, "float_dtype", first.dtype if first else "float32")
        object.__setattr__(self, "float_size", sum([spec.size for spec in floats]))
        object.__setattr__(self, "nbytes", sum([spec.nbytes for spec in self.specs]))

    @property
    def float_specs(self) -> tuple[TensorSpec, ...]:
        return tuple(spec for spec in self.specs if spec.is_float)

    @property
    def float_sizes(self) -> tuple[int, ...]:
        """Elements of each float tensor."""
        return tuple(spec.size for spec in self.float_specs)

    @property
    def other_specs(self) -> tuple[TensorSpec, ...]:
        """Integer and boolean tensors, such as BatchNorm's counters."""
        return tuple(spec for spec in self.specs if not spec.is_float)

    @property
    def size(self) -> int:
        """Elements of all tensors together."""
        return sum(spec.size for spec in self.specs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Those that some tensor has, in order."""
        found = {spec.role for spec in self.specs}
        return tuple(role for role in Role if role in found)

    def select(self, *roles: Role) -> "Layout":
        """The tensors of these roles alone."""
        return Layout(tuple(spec for spec in self.specs if spec.role in roles))

    def with_float_dtype(self, dtype: str) -> "Layout":
        """The same tensors, floats as `dtype`."""
        return Layout(tuple(replace(spec, dtype=dtype) if spec.is_float else spec for spec in self.specs))


def check_same(a: Layout, b: Layout) -> None:
    """Raise `ValueError` naming the first tensor in which two layouts differ, and both its specs."""
    if a is b or a.specs == b.specs:
        return
    for left, right in zip(a.specs, b.specs, strict=False):
        if left != right:
            raise ValueError(f"tensor {left.name!r} differs: {left} against {right}")
    longer, shorter = (a, b) if len(a.specs) > len(b.specs) else (b, a)
    extra = longer.specs[len(shorter.specs)]
    raise ValueError(
        f"tensor {extra.name!r} is in one vector only: {len(longer.specs)} tensors with {extra}, "
        f"against {len(shorter.specs)} tensors without it"
    )
