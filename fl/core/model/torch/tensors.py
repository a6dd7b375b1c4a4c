"""A module's parameters, gradients and buffers as views into flat buffers.

One buffer holds all floats, in the order of their roles, and one the gradients of the trainable parameters. The
module computes with the views, so a step of the optimizer is arithmetic on the flat buffers, and copies nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fl.core.layout import Layout, Role, TensorSpec, check_same
from fl.core.vector import Array, NumpyVector, Vector
from fl.core.vector.torch_vector import TorchVector, dtype_name
from fl.errors import ModelError

Tensor = torch.Tensor
BufferPolicy = Literal["average", "local", "frozen"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """One buffer of a module that is part of its state."""

    name: str
    owner: nn.Module
    key: str
    """Its name in the owner."""
    tensor: Tensor


class ModuleTensors:
    """The tensors of one module, which from now on lie here. Raises `ModelError` for what no vector can hold."""

    def __init__(self, module: nn.Module, policy: BufferPolicy) -> None:
        parameters = dict(module.named_parameters())
        lazy = next((name for name, item in parameters.items() if nn.parameter.is_lazy(item)), None)
        if lazy is not None:
            raise ModelError(f"parameter {lazy!r} has no shape yet: run the module once on a sample before it is given")
        learned = {name: item for name, item in parameters.items() if item.requires_grad}
        if not learned:
            raise ModelError("every parameter of this module is frozen (requires_grad=False): nothing is left to train")
        frozen = {name: item for name, item in parameters.items() if not item.requires_grad}
        self.buffers = tuple(persistent_buffers(module))
        floats = {item.name: item.tensor for item in self.buffers if item.tensor.is_floating_point()}
        others = {item.name: item.tensor for item in self.buffers if not item.tensor.is_floating_point()}
        role = Role.BUFFER if policy == "average" else Role.FIXED
        ordered = learned | floats | frozen | others
        roles = [Role.TRAINABLE] * len(learned) + [role] * len(floats) + [Role.FIXED] * (len(frozen) + len(others))
        layout = _layout(ordered, roles)
        flat = torch.cat([item.detach().reshape(-1) for item in ordered.values() if item.is_floating_point()])
        self.all = TorchVector(layout, flat, tuple(others.values()))
        self.trainable = self.all.select(Role.TRAINABLE)
        self.gradient = self.trainable.zeros_like()
        _share(ordered, self.all)
        for item, gradient in zip(learned.values(), self.gradient.arrays().values(), strict=True):
            item.grad = gradient
        self.learned = learned
        self.kept = tuple(item.name for item in self.buffers if policy == "local" or item.name in others)
        """Names of the buffers that stay at a site from round to round."""

    def read(self, *, trainable: bool) -> TorchVector:
        """A copy."""
        if trainable:
            return self.trainable.copy()
        self._collect()
        return self.all.copy()

    def write(self, weights: Vector, *, trainable: bool) -> None:
        """Copy in all tensors of the roles that `weights` has. Raises `ValueError` naming the first that differs."""
        self._collect()
        roles = (Role.TRAINABLE,) if trainable else weights.layout.roles
        mine = self.all.select(*roles)
        check_same(mine.layout, weights.layout)
        theirs = TorchVector.from_numpy(weights, mine.device) if isinstance(weights, NumpyVector) else weights
        mine.flat.copy_(theirs.flat)
        for own, other in zip(mine.others, theirs.others, strict=True):
            own.copy_(other)

    def read_kept(self) -> dict[str, Array]:
        """Copies of the buffers that stay at this site."""
        self._collect()
        kept = [item for item in self.buffers if item.name in self.kept]
        return {item.name: item.tensor.detach().cpu().numpy().copy() for item in kept}

    def write_kept(self, arrays: dict[str, Any]) -> None:
        """Put back what `read_kept` gave. Raises `ValueError`, and then nothing has changed."""
        self._collect()
        if set(arrays) != set(self.kept):
            raise ValueError(f"kept buffers are {sorted(self.kept)}, but the state has {sorted(arrays)}")
        kept = [item for item in self.buffers if item.name in self.kept]
        for item in kept:
            if arrays[item.name].shape != tuple(item.tensor.shape):
                raise ValueError(
                    f"buffer {item.name!r} has shape {tuple(item.tensor.shape)}, but the state's has "
                    f"{arrays[item.name].shape}"
                )
        for item in kept:
            item.tensor.copy_(torch.tensor(arrays[item.name]))

    def _collect(self) -> None:
        """Take the values of buffers that the module replaced, rather than wrote into, and put the old ones back."""
        for item in self.buffers:
            current = item.owner.get_buffer(item.key)
            if current is not item.tensor:
                item.tensor.copy_(current.detach())
                item.owner._buffers[item.key] = item.tensor  # noqa: SLF001  # no public way sets a buffer as it is


def persistent_buffers(module: nn.Module) -> Iterator[Buffer]:
    """The buffers that are in the module's `state_dict`, each once."""
    found = set()
    for path, owner in module.named_modules():
        for key, tensor in owner.named_buffers(recurse=False):
            # no public name says which buffers `state_dict` leaves out
            if id(tensor) not in found and key not in owner._non_persistent_buffers_set:  # noqa: SLF001
                found.add(id(tensor))
                yield Buffer(f"{path}.{key}" if path else key, owner, key, tensor)


def _layout(tensors: dict[str, Tensor], roles: list[Role]) -> Layout:
    halves = [name for name, item in tensors.items() if item.dtype == torch.bfloat16]
    if halves:
        raise ModelError(
            f"{halves[0]!r} is bfloat16, in which small updates of weights are lost: give the module as "
            'model.float(), and autocast="bfloat16" to compute in it'
        )
    floats = {dtype_name(item.dtype): name for name, item in reversed(tensors.items()) if item.is_floating_point()}
    if len(floats) > 1:
        listed = " and ".join(f"{dtype} ({name})" for dtype, name in sorted(floats.items()))
        raise ModelError(f"the module mixes float dtypes, {listed}: give it as model.float() or model.double()")
    pairs = zip(tensors.items(), roles, strict=True)
    try:
        specs = [TensorSpec(name, dtype_name(item.dtype), tuple(item.shape), role) for (name, item), role in pairs]
        return Layout(tuple(specs))
    except ValueError as error:
        raise ModelError(f"the module has a tensor that no vector can hold: {error}") from None


def _share(tensors: dict[str, Tensor], vector: TorchVector) -> None:
    """Let the module's own tensors be views of the vector's."""
    for name, view in vector.arrays().items():
        tensors[name].data = view
