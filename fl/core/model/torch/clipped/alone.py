"""Gradients of samples that a module sees one by one: all at once where `torch.func` can, else in turn."""

from typing import Any

import torch
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fl.core.model.torch.clipped.installed import unrolled
from fl.core.model.torch.clipped.parts import Part, Whole
from fl.core.model.torch.clipped.values import Samples
from fl.core.model.torch.loss import SampleLoss
from fl.core.model.torch.network import Network

Tensor = torch.Tensor


def by_vmap(network: Network, loss: SampleLoss, samples: Samples) -> dict[str, Part]:
    """Of each parameter, the gradients. Raises `RuntimeError` for what cannot be vectorised."""
    args, kwargs = samples.inputs

    def loss_of(parameters: dict[str, Tensor], args: Any, kwargs: Any, target: Tensor, weight: Tensor) -> Tensor:
        one_args = tuple(item.unsqueeze(0) for item in args)
        one_kwargs = {name: item.unsqueeze(0) for name, item in kwargs.items()}
        with network.autocast():
            raw = functional_call(network.module, parameters, one_args, one_kwargs)
        return loss(network.as_weights(raw), target.unsqueeze(0)).sum() * weight

    detached = {name: item.detach() for name, item in network.tensors.learned.items()}
    per_sample = vmap(grad(loss_of), in_dims=(None, 0, 0, 0, 0), randomness="different")
    # attention's other kernels are not vectorised over samples
    with unrolled(network.module), sdpa_kernel(SDPBackend.MATH):
        gradients = per_sample(detached, args, kwargs, samples.targets, samples.weights)
    return {name: Whole(gradient) for name, gradient in gradients.items()}


def one_by_one(network: Network, loss: SampleLoss, samples: Samples) -> dict[str, Part]:
    """The same by as many passes as there are samples, of whatever module."""
    rows = [_of_one(network, loss, samples.part(slice(i, i + 1))) for i in range(len(samples))]
    columns = zip(*rows, strict=True)
    return {name: Whole(torch.stack(column)) for name, column in zip(network.tensors.learned, columns, strict=True)}


def _of_one(network: Network, loss: SampleLoss, sample: Samples) -> tuple[Tensor, ...]:
    total = (loss(network.eager(sample.inputs), sample.targets) * sample.weights).sum()
    parameters = list(network.tensors.learned.values())
    found = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    return tuple(item.to_dense() for item in found)
