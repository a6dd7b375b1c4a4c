"""What the ways to clip have in common: the bound, and the samples."""

from dataclasses import dataclass

import torch

from fl.core.model.torch.inputs import Inputs
from fl.errors import ConfigError

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Clipping:
    """Clip each sample's gradient to `max_norm`, over all tensors or over each by itself."""

    max_norm: float
    per_tensor: bool = False

    def __post_init__(self) -> None:
        if not self.max_norm > 0:
            raise ConfigError(f"max_norm is {self.max_norm}: a gradient is clipped to a norm above 0")

    def factors(self, norms: Tensor) -> Tensor:
        """What to multiply the gradients by, of shape (tensors, n), given their norms in float64."""
        if not self.per_tensor:
            norms = torch.linalg.vector_norm(norms, dim=0, keepdim=True).expand_as(norms)
        return self.max_norm / norms.clamp(min=self.max_norm)


@dataclass(frozen=True, slots=True)
class Samples:
    """A batch on the module's device; `weights` has one number a sample."""

    inputs: Inputs
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return self.targets.shape[0]

    def part(self, part: slice) -> "Samples":
        args, kwargs = self.inputs
        inputs = tuple(item[part] for item in args), {name: item[part] for name, item in kwargs.items()}
        return Samples(inputs, self.targets[part], self.weights[part])
