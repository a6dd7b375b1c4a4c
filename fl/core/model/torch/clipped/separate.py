"""Whether the samples of a batch keep to themselves: else no clipping would bound what one of them does."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from fl.core.model.torch.clipped.layers import takes_statistics
from fl.core.model.torch.inputs import Inputs
from fl.core.model.torch.network import Network
from fl.errors import ModelError

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Call:
    """What one layer was given and gave in one pass; `name` is its path, and empty for the whole module."""

    name: str
    layer: nn.Module
    given: tuple[Tensor, ...]
    gave: tuple[Tensor, ...]


def refuse_statistics(module: nn.Module) -> None:
    """Raise `ModelError` naming the first layer that computes with statistics over a batch, or keeps some."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and takes_statistics(layer):
            raise ModelError(
                f"layer {name!r} ({type(layer).__name__}) takes statistics over the batch, so a single sample has no "
                'gradient that could be clipped: use nn.GroupNorm in its place, or buffers="frozen"'
            )
        if isinstance(layer, _InstanceNorm) and takes_statistics(layer):
            raise ModelError(
                f"layer {name!r} ({type(layer).__name__}) keeps statistics of the samples, which no clipping bounds: "
                'give it track_running_stats=False, or buffers="frozen"'
            )


@contextmanager
def kept_still(network: Network, inputs: Inputs) -> Iterator[Network]:
    """A twin that draws nothing, so that its passes can be compared: as in training, but for dropout if it has some."""
    twin = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[network.like.device] if network.like.is_cuda else []), torch.enable_grad():
        twin.set_training(True)
        if not _repeats(twin, inputs):
            for layer in twin.module.modules():
                if isinstance(layer, _DropoutNd | nn.RNNBase | nn.MultiheadAttention):
                    layer.eval()
            if not _repeats(twin, inputs):
                twin.set_training(False)
        yield twin


def refuse_mixing(network: Network, inputs: Inputs) -> None:
    """Raise `ModelError` naming the layer by which outputs depend on who else is in the batch, if one does.

    `inputs` are those of a few samples, which must differ. The layers' own axes may be in any order.
    """
    args, kwargs = inputs
    n = len(next(iter((*args, *kwargs.values()))))
    together = _calls(network, inputs)
    singles = [
        _calls(network, (tuple(x[i : i + 1] for x in args), {name: x[i : i + 1] for name, x in kwargs.items()}))
        for i in range(n)
    ]
    if _agree(together[-1].gave, [calls[-1].gave for calls in singles]):
        return
    guilty = together[-1]
    if all(len(calls) == len(together) for calls in singles):
        for call, *alone in zip(together, *singles, strict=True):
            same_input = _agree(call.given, [one.given for one in alone])
            if same_input and not _agree(call.gave, [one.gave for one in alone]):
                guilty = call
                break
    where = f"layer {guilty.name!r} ({type(guilty.layer).__name__})" if guilty.name else "the module's own forward"
    raise ModelError(
        f"{where} mixes the samples of a batch: what it gives for a sample depends on the others, so that no sample's "
        "share could be bounded. Compute each sample by itself; where the axis of samples is mistaken for another, "
        "batch_first=True may be missing"
    )


def _repeats(network: Network, inputs: Inputs) -> bool:
    """Whether two passes give the same."""
    first, second = (_tensors(network.eager(inputs)) for _ in range(2))
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def _calls(network: Network, inputs: Inputs) -> list[Call]:
    """Of every layer in one pass, in the order in which they end; that of the module itself is the last."""
    calls: list[Call] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            calls.append(Call(name, layer, _tensors((args, kwargs)), _tensors(out)))

        return hook

    handles = [
        layer.register_forward_hook(note(name), with_kwargs=True) for name, layer in network.module.named_modules()
    ]
    try:
        network.eager(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _tensors(value: Any) -> tuple[Tensor, ...]:
    """All tensors in what a layer takes or gives, copied, for some layers write over what they were given."""
    if isinstance(value, Tensor):
        return (value.detach().clone(),)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return tuple(item for part in value for item in _tensors(part)) if isinstance(value, tuple | list) else ()


def _agree(together: tuple[Tensor, ...], alone: list[tuple[Tensor, ...]]) -> bool:
    """Whether tensors of a batch are those of its samples side by side, as far as they are of samples at all."""
    return all(_is_of(batch, list(singles)) for batch, *singles in zip(together, *alone, strict=False))


def _is_of(batch: Tensor, singles: list[Tensor]) -> bool:
    for axis in range(batch.ndim):
        lengths = [item.shape[axis] for item in singles if item.ndim == batch.ndim]
        rest = {(*item.shape[:axis], *item.shape[axis + 1 :]) for item in (batch, *singles)}
        if sum(lengths) == batch.shape[axis] and len(rest) == 1:
            return _close(batch, torch.cat(singles, axis))
    return True


def _close(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    tolerance = 1e-8 if one.dtype == torch.float64 else 1e-2 if one.is_cuda or one.dtype != torch.float32 else 1e-4
    scale = other.abs().max().item() if other.numel() else 0.0
    return not math.isfinite(scale) or torch.allclose(one, other, rtol=0, atol=tolerance * scale, equal_nan=True)
