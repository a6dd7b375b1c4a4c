"""The mean of gradients that are clipped sample by sample, as in DP-SGD (Abadi et al. 2016, algorithm 1).

Gradients of single samples come from `torch.func` where every layer allows it, a part of the batch at a time, and
otherwise from one backward pass a sample, which is slow and the same.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fl.core.model.torch.inputs import Inputs
from fl.core.model.torch.network import Network
from fl.errors import ConfigError, ModelError

Tensor = torch.Tensor
LossOf = Callable[[Any, Tensor], Tensor]
logger = logging.getLogger(__name__)

SAMPLE_GRADIENT_ELEMENTS: Final = 1 << 24
"""Elements of per-sample gradients held at a time: 64 MiB of float32."""


@dataclass(frozen=True, slots=True)
class Clipping:
    """Clip each sample's gradient to `max_norm`, over all tensors or over each by itself."""

    max_norm: float
    per_tensor: bool = False

    def __post_init__(self) -> None:
        if not self.max_norm > 0:
            raise ConfigError(f"max_norm is {self.max_norm}: a gradient is clipped to a norm above 0")

    def factors(self, norms: Tensor) -> Tensor:
        """What to multiply the gradients by, of shape (tensors, n), given their norms."""
        if not self.per_tensor:
            norms = torch.linalg.vector_norm(norms, dim=0, keepdim=True).expand_as(norms)
        return self.max_norm / norms.clamp(min=self.max_norm)


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch on the module's device; `weights` has one number a sample."""

    inputs: Inputs
    targets: Tensor
    weights: Tensor

    def part(self, part: slice) -> "Samples":
        args, kwargs = self.inputs
        inputs = tuple(item[part] for item in args), {name: item[part] for name, item in kwargs.items()}
        return Samples(inputs, self.targets[part], self.weights[part])


class SampleGradients:
    """Computes clipped gradients of a network's weights. Raises `ModelError` for layers that mix samples."""

    def __init__(self, network: Network, loss: LossOf) -> None:
        self._network = network
        self._loss = loss
        # recurrent layers run, but no faster than one by one
        self._vectorised = not any(isinstance(layer, nn.RNNBase) for layer in network.module.modules())

    def add_clipped(self, samples: Samples, clipping: Clipping) -> None:
        """Add the mean of the samples' clipped gradients to the network's gradient."""
        check_separate(self._network.module)
        out = self._network.tensors.gradient
        views = out.arrays()
        n = samples.targets.shape[0]
        step = max(1, SAMPLE_GRADIENT_ELEMENTS // max(1, out.layout.size))
        for start in range(0, n, step):
            part = samples.part(slice(start, start + step))
            gradients = self._gradients(part)
            norms = [torch.linalg.vector_norm(item.flatten(1), dim=1) for item in gradients.values()]
            factors = clipping.factors(torch.stack(norms))
            for factor, (name, gradient) in zip(factors, gradients.items(), strict=True):
                views[name].add_(torch.tensordot(factor, gradient, dims=1), alpha=1 / n)

    def _gradients(self, samples: Samples) -> dict[str, Tensor]:
        """Of each parameter, the gradients of all samples along a first axis."""
        if self._vectorised:
            try:
                return self._by_vmap(samples)
            except RuntimeError as error:
                logger.warning("per_sample_gradients_one_by_one reason=%s", str(error)[:200])
                self._vectorised = False
        return self._one_by_one(samples)

    def _by_vmap(self, samples: Samples) -> dict[str, Tensor]:
        network = self._network
        args, kwargs = samples.inputs

        def loss_of(parameters: dict[str, Tensor], args: Any, kwargs: Any, target: Tensor, weight: Tensor) -> Tensor:
            one_args = tuple(item.unsqueeze(0) for item in args)
            one_kwargs = {name: item.unsqueeze(0) for name, item in kwargs.items()}
            with network.autocast():
                raw = functional_call(network.module, parameters, one_args, one_kwargs)
            return self._loss(network.as_weights(raw), target.unsqueeze(0)).sum() * weight

        detached = {name: item.detach() for name, item in network.tensors.learned.items()}
        per_sample = vmap(grad(loss_of), in_dims=(None, 0, 0, 0, 0), randomness="different")
        with sdpa_kernel(SDPBackend.MATH):  # attention's other kernels are not vectorised over samples
            gradients: dict[str, Tensor] = per_sample(detached, args, kwargs, samples.targets, samples.weights)
        return gradients

    def _one_by_one(self, samples: Samples) -> dict[str, Tensor]:
        rows = [self._of_one(samples.part(slice(i, i + 1))) for i in range(samples.targets.shape[0])]
        columns = zip(*rows, strict=True)
        return {name: torch.stack(column) for name, column in zip(self._network.tensors.learned, columns, strict=True)}

    def _of_one(self, sample: Samples) -> tuple[Tensor, ...]:
        loss = (self._loss(self._network(sample.inputs), sample.targets) * sample.weights).sum()
        parameters = list(self._network.tensors.learned.values())
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return tuple(item.to_dense() for item in found)


def check_separate(module: nn.Module) -> None:
    """Raise `ModelError` naming the first layer through which the samples of a batch see each other."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training:  # noqa: SLF001  # their common base
            raise ModelError(
                f"layer {name!r} ({type(layer).__name__}) takes statistics over the batch, so a single sample has no "
                'gradient that could be clipped: use nn.GroupNorm in its place, or buffers="frozen"'
            )
