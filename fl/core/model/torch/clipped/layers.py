"""Layers whose parameters' gradients have a formula for single samples."""

import math
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from fl.core.model.torch.clipped.parts import Part, Products, Rows, Whole, elements_of
from fl.core.model.torch.clipped.tape import Formula, Tape, Unknown, added, stand_in

Tensor = torch.Tensor


def linear(layer: nn.Linear, tape: Tape, x: Tensor) -> Tensor:
    return tape.linear(x, layer.weight, layer.bias)


def convolution(layer: _ConvNd, tape: Tape, x: Tensor) -> Tensor:
    tape.take(x, at_least=len(layer.kernel_size) + 2)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode)  # noqa: SLF001  # as the layer itself does
        padding = (0,) * len(layer.kernel_size)
    else:
        padding = layer.padding
    apply: Any = CONVOLUTIONS[len(layer.kernel_size)]
    weight, bias = stand_in(layer.weight), stand_in(layer.bias)
    out: Tensor = apply(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)
    inputs = layer.weight[0].numel()
    positions, outputs = math.prod(out.shape[2:]), layer.weight.shape[0] // layer.groups
    taken = x.detach()

    def products(rows: slice, given: Tensor) -> Part:
        patches = _patches(taken[rows].to(layer.weight.dtype), layer, padding, out.shape[2:])
        given = given.reshape(len(given), layer.groups, outputs, positions).mT
        if layer.groups == 1:
            return Products(patches[:, 0], given[:, 0], layer.weight.shape)
        return Whole((given.mT @ patches).view(-1, *layer.weight.shape))

    elements = (positions * inputs + elements_of(positions, inputs, outputs, layer.weight.dtype)) * layer.groups
    return tape.note(out, Formula(layer.weight, products, elements), added(layer.bias, axis=1))


def embedding(layer: nn.Embedding, tape: Tape, places: Tensor) -> Tensor:
    if layer.max_norm is not None or layer.scale_grad_by_freq:
        raise Unknown("an embedding rescales its rows, or their gradients by how often a batch has them")
    tape.take(places, at_least=1)
    out = F.embedding(places, stand_in(layer.weight))
    flat = places.reshape(tape.n_samples, -1)

    def rows_of(rows: slice, given: Tensor) -> Part:
        looked_up = given.reshape(len(given), -1, given.shape[-1])
        return Rows(flat[rows], looked_up, layer.weight.shape, layer.padding_idx)

    return tape.note(out, Formula(layer.weight, rows_of, flat.shape[1] * out.shape[-1]))


def layer_norm(layer: nn.LayerNorm | nn.RMSNorm, tape: Tape, x: Tensor) -> Tensor:
    shape = tuple(layer.normalized_shape)
    tape.take(x, at_least=len(shape) + 1)
    bias = getattr(layer, "bias", None)

    def normalise(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if isinstance(layer, nn.RMSNorm):
            return F.rms_norm(x, shape, weight, layer.eps)
        return F.layer_norm(x, shape, weight, bias, layer.eps)

    def over_positions(product: Tensor) -> Tensor:
        return product.reshape(len(product), -1, *shape).sum(1)

    return _affine(layer.weight, bias, tape, x, normalise=normalise, total=over_positions)


def channel_norm(layer: nn.GroupNorm | _InstanceNorm | _BatchNorm, tape: Tape, x: Tensor) -> Tensor:
    tape.take(x, at_least=2)
    of_one: Any = getattr(layer, "_get_no_batch_dim", lambda: 1)
    if x.ndim == of_one():
        raise Unknown("an instance norm got a single sample without the axis of samples")
    if isinstance(layer, _InstanceNorm | _BatchNorm) and takes_statistics(layer):
        raise Unknown("a norm takes statistics over the batch")

    def normalise(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        if isinstance(layer, nn.GroupNorm):
            return F.group_norm(x, layer.num_groups, weight, bias, layer.eps)
        if isinstance(layer, _InstanceNorm) and not layer.track_running_stats:
            return F.instance_norm(x, None, None, weight, bias, use_input_stats=True, eps=layer.eps)
        return F.batch_norm(x, layer.running_mean, layer.running_var, weight, bias, training=False, eps=layer.eps)

    def over_positions(product: Tensor) -> Tensor:
        return product.flatten(2).sum(2) if product.ndim > 2 else product

    return _affine(layer.weight, layer.bias, tape, x, normalise=normalise, total=over_positions)


def takes_statistics(layer: _InstanceNorm | _BatchNorm) -> bool:
    """Whether a layer computes with, or keeps, statistics over the samples of a batch."""
    keeps = layer.training and layer.track_running_stats
    return keeps or (isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None))


def _affine(
    weight: Tensor | None,
    bias: Tensor | None,
    tape: Tape,
    x: Tensor,
    *,
    normalise: Callable[..., Tensor],
    total: Callable[[Tensor], Tensor],
) -> Tensor:
    """weight·x̂ + bias, with x̂ what `normalise` gives; `total` sums over the positions of a sample."""
    out = normalise(x, stand_in(weight), stand_in(bias))
    taken = x.detach()

    def scaled(rows: slice, given: Tensor) -> Part:
        return Whole(total(given * normalise(taken[rows].to(given.dtype))))

    def shifted(rows: slice, given: Tensor) -> Part:
        del rows  # the gradient says it all
        return Whole(total(given))

    return tape.note(out, Formula(weight, scaled, out[:1].numel()), Formula(bias, shifted))


CONVOLUTIONS: Final = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _patches(x: Tensor, layer: _ConvNd, padding: Any, out_shape: torch.Size) -> Tensor:
    """What each output of a convolution sees, of shape (n, groups, positions, inputs of a group's kernel)."""
    if any(padding):
        x = F.pad(x, [side for length in reversed(padding) for side in (length, length)])
    x = x.contiguous()
    n, channels = x.shape[:2]
    strides = x.stride()
    steps = [stride * by for stride, by in zip(strides[2:], layer.stride, strict=True)]
    reaches = [stride * by for stride, by in zip(strides[2:], layer.dilation, strict=True)]
    per_group = channels // layer.groups
    seen = x.as_strided(
        (n, layer.groups, per_group, *layer.kernel_size, *out_shape),
        (strides[0], strides[1] * per_group, strides[1], *reaches, *steps),
    )
    return seen.reshape(n, layer.groups, per_group * math.prod(layer.kernel_size), -1).mT
