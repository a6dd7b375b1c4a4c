"""Gaussian noise on gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fl.core.optimizer import options
from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.privacy.noise import gaussian, system_source
from fl.core.vector import Vector
from fl.errors import ConfigError


class GaussianNoiseModule(OptiModule):
    """g + N(0, std²), drawn in float64 by numpy whatever the gradients are of, so that all frameworks get the same.

    With `safe_mode` the noise comes from the operating system's generator for cryptography, and nobody can draw it
    again; else from PCG64, whose place is part of the state. To make training differentially private, ask the run for
    a privacy budget instead: this module keeps no account of what is spent.
    """

    name = "gaussian-noise"

    def __init__(self, std: float = 1.0, safe_mode: bool = True, seed: int | None = None) -> None:
        options.at_least(self.name, 0, std=std)
        if seed is not None:
            options.counts(self.name, 0, seed=seed)
        if safe_mode and seed is not None:
            raise ConfigError(f"{self.name}: noise of safe_mode has no seed: leave seed out, or set safe_mode to false")
        self.std = std
        self.safe_mode = safe_mode
        self.seed = seed
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def get_config(self) -> dict[str, Any]:
        return {"std": self.std, "safe_mode": self.safe_mode, "seed": self.seed}

    def run(self, gradients: Vector) -> Vector:
        source = system_source() if self.safe_mode else self._rng
        return gradients + gaussian(source, gradients.layout, self.std)

    def get_state(self) -> dict[str, Any]:
        return {"generator": None if self.safe_mode else self._rng.bit_generator.state}

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"generator"})
        if (state["generator"] is None) is not self.safe_mode:
            raise ValueError(f"state of {self.name!r} is of safe_mode={not self.safe_mode}, and this module is not")
        if not self.safe_mode:
            self._rng.bit_generator.state = state["generator"]
