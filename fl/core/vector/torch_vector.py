"""Vectors of torch tensors, on whichever device."""

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Self

import torch

from fl.core.layout import Layout, TensorSpec
from fl.core.vector.api import Vector
from fl.core.vector.numpy_vector import NumpyVector

Tensor = torch.Tensor
BLOCK = 1 << 17
"""Elements of a part whose temporaries stay in the cache, and which is worth the work of two cores."""


class TorchVector(Vector):
    """A vector of torch tensors, all on one device. It takes no part in autograd."""

    __slots__ = ()

    flat: Tensor

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor]) -> Self:
        """Copy tensors into one buffer, in the mapping's order. Raises `ValueError` on mixed or strange dtypes."""
        layout = Layout(
            tuple(TensorSpec(name, dtype_name(item.dtype), tuple(item.shape)) for name, item in arrays.items())
        )
        items = [item.detach() for item in arrays.values()]
        floats = [item.reshape(-1) for item in items if item.is_floating_point()]
        flat = torch.cat(floats) if floats else torch.zeros(0)
        return cls(layout, flat, tuple(item.clone() for item in items if not item.is_floating_point()))

    @classmethod
    def from_numpy(cls, vector: NumpyVector, device: "torch.device | str" = "cpu") -> Self:
        """The same values on a device; on the CPU, memory is shared where it can be written to."""
        return cls(vector.layout, _tensor(vector.flat, device), tuple(_tensor(item, device) for item in vector.others))

    @property
    def device(self) -> torch.device:
        return self.flat.device

    def _operand(self, other: object) -> Any:
        if type(other) is float or type(other) is int:
            return other
        if isinstance(other, TorchVector):
            return self._flat_of(other)
        if isinstance(other, NumpyVector):
            return _tensor(self._flat_of(other), self.flat.device)
        return float(other) if isinstance(other, Real) else NotImplemented

    def _required(self, other: object) -> Any:
        value = self._operand(other)
        if value is NotImplemented:
            raise TypeError(f"expected a number or a TorchVector, got {type(other).__name__}")
        return value

    def __iadd__(self, other: object) -> Self:
        self.flat.add_(self._required(other))
        return self

    def __isub__(self, other: object) -> Self:
        self.flat.sub_(self._required(other))
        return self

    def __imul__(self, other: object) -> Self:
        self.flat.mul_(self._required(other))
        return self

    def __itruediv__(self, other: object) -> Self:
        self.flat.div_(self._required(other))
        return self

    def __ipow__(self, other: object) -> Self:
        self.flat.pow_(self._required(other))
        return self

    def _shaped(self, flat: Tensor, shape: tuple[int, ...]) -> Tensor:
        return flat.view(shape)

    def sign(self) -> Self:
        return self._like(torch.sign(self.flat))

    def sqrt(self) -> Self:
        return self._like(torch.sqrt(self.flat))

    def minimum(self, other: object) -> Self:
        value = self._required(other)
        return self._like(torch.minimum(self.flat, value) if torch.is_tensor(value) else self.flat.clamp(max=value))

    def maximum(self, other: object) -> Self:
        value = self._required(other)
        return self._like(torch.maximum(self.flat, value) if torch.is_tensor(value) else self.flat.clamp(min=value))

    def sum(self) -> float:
        return float(self.flat.sum(dtype=torch.float64))

    def dot(self, other: Vector) -> float:
        return float(torch.dot(self.flat.double(), self._required(other).double()))

    def tensor_norms(self) -> Tensor:
        if not self.layout.float_sizes:
            return self.flat.new_zeros(0)
        # the public norms take one tensor a call; this is what torch's own gradient clipping uses
        norms = torch._foreach_norm(torch.split(self.flat, list(self.layout.float_sizes)))  # noqa: SLF001
        return torch.stack(norms)

    def scale_tensors(self, factors: Tensor) -> Self:
        sizes = torch.tensor(self.layout.float_sizes, device=self.flat.device)
        return self._like(self.flat * torch.repeat_interleave(factors, sizes, output_size=self.flat.numel()))

    def clip_tensors(self, max_norm: float) -> Self:
        return self.scale_tensors(max_norm / self.tensor_norms().clamp(min=max_norm))

    def zeros_like(self) -> Self:
        return type(self)(self.layout, torch.zeros_like(self.flat), tuple(map(torch.zeros_like, self.others)))

    def empty_like(self) -> Self:
        return self._like(torch.empty_like(self.flat))

    def ewma(self, other: Vector, beta: float) -> Self:
        self.flat.lerp_(self._required(other), 1.0 - beta)
        return self

    def blocks(self) -> Iterator[Self]:
        if self.flat.numel() <= BLOCK or self.flat.device.type != "cpu":
            yield self
            return
        for part in torch.split(self.flat, BLOCK):
            yield self._like(part)

    def copy(self) -> Self:
        return type(self)(self.layout, self.flat.clone(), tuple(item.clone() for item in self.others))

    def astype(self, dtype: str) -> Self:
        others = tuple(item.clone() for item in self.others)
        return type(self)(self.layout.with_float_dtype(dtype), self.flat.to(getattr(torch, dtype), copy=True), others)

    def to_numpy(self) -> NumpyVector:
        others = tuple(item.detach().cpu().numpy() for item in self.others)
        return NumpyVector(self.layout, self.flat.detach().cpu().numpy(), others)

    def is_finite(self) -> bool:
        return bool(torch.isfinite(self.flat).all())


def dtype_name(dtype: torch.dtype) -> str:
    """As numpy has it."""
    return str(dtype).removeprefix("torch.")


def _tensor(array: Any, device: "torch.device | str") -> Tensor:
    # bytes that came in a message are read-only, which torch has no notion of
    shared = array if array.flags.writeable and array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return torch.from_numpy(shared).to(device)
