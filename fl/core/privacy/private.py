"""Steps of DP-SGD (Abadi et al. 2016, algorithm 1)."""

from dataclasses import dataclass, replace

from fl.core.dataset.api import Batch
from fl.core.dataset.sampling import Batching
from fl.core.model.api import Model
from fl.core.optimizer.optimizer import Optimizer
from fl.core.privacy.accounting import Spending
from fl.core.privacy.noise import NormalSource, gaussian
from fl.core.privacy.options import check_clip
from fl.core.vector import Vector
from fl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PrivateSteps:
    """Training steps that have been paid for, each over a Poisson batch.

        g = 1/B · ( Σ_i clip(w_i·g_i, C) + N(0, (sigma·C)²·I) )

    B = q·n is the number of samples *expected* in the batch: how many there are is nobody's business. A batch without
    a sample gives noise alone. Whatever optimizers make of g is as private as it is.
    Raises `ConfigError` where no step is paid for.
    """

    paid: Spending
    sclip_norm: float
    """C."""
    noise: NormalSource
    """New for every round, from a key that no other round has (`keys.py`)."""

    def __post_init__(self) -> None:
        check_clip(self.sclip_norm)
        if self.paid.steps == 0:
            raise ConfigError("no step of this round is paid for, and a round has at least one")

    def batching(self, batching: Batching, n_samples: int) -> Batching:
        """Poisson batches of the same size. Raises `ConfigError` when another rate was paid for."""
        rate = batching.sample_rate(n_samples)
        if rate != self.paid.sample_rate:
            raise ConfigError(
                f"steps were paid for at a sampling rate of {self.paid.sample_rate}, but batches of "
                f"{batching.batch_size} among {n_samples} samples have {rate}: the data has changed; begin a new run"
            )
        return replace(batching, poisson=True, shuffle=False, replacement=False)

    def run_train_step(self, optimizer: Optimizer, model: Model, batch: Batch, *, n_samples: int) -> None:
        """One step of a model that learns from `n_samples`."""
        gradients = self.gradients(model, batch, expected=self.paid.sample_rate * n_samples)
        model.apply_updates(optimizer.compute_updates(model, gradients))

    def gradients(self, model: Model, batch: Batch, *, expected: float) -> Vector:
        """g, of which the model gives the mean over the samples there are; `expected` is B."""
        mean = model.compute_batch_gradients(batch, self.sclip_norm)
        std = self.paid.noise_multiplier * self.sclip_norm / expected
        return mean * (batch.n_samples / expected) + gaussian(self.noise, mean.layout, std)
