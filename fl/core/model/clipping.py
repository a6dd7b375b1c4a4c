"""The bound on the gradient of one sample, whatever computes it."""

from dataclasses import dataclass

from fl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Clipping:
    """Clip each sample's gradient to `max_norm`, over all tensors or over each by itself. Raises `ConfigError`."""

    max_norm: float
    per_tensor: bool = False

    def __post_init__(self) -> None:
        if not self.max_norm > 0:
            raise ConfigError(f"max_norm is {self.max_norm}: a gradient is clipped to a norm above 0")
