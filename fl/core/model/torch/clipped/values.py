"""What the ways to clip have in common: the samples, and what their gradients are multiplied by."""

from dataclasses import dataclass

import torch

from fl.core.model.clipping import Clipping
from fl.core.model.torch.inputs import Inputs

Tensor = torch.Tensor


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


def factors(clipping: Clipping, norms: Tensor) -> Tensor:
    """What to multiply samples' gradients by, of shape (tensors, n), given their norms in float64."""
    if not clipping.per_tensor:
        norms = torch.linalg.vector_norm(norms, dim=0, keepdim=True).expand_as(norms)
    return clipping.max_norm / norms.clamp(min=clipping.max_norm)
