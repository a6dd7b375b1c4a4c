"""What a run promises each client as a whole: central differential privacy, by clipping and noise at the server.

What is accounted for is what the weights tell whoever sees them: the clients, and who gets the model. The workers of
the server see updates as they are, and the run's log says who took part: both are for those whom the clients trust.
"""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from fl.core.privacy.accounting import Spending
from fl.core.privacy.central import AdaptiveClipping, SumPrivacy, check_clip_norm
from fl.core.privacy.options import Budget, check_accountant, check_delta
from fl.errors import ConfigError
from fl.run.config import Config


def _as_adaptive(value: Any) -> Any:
    """Accept a bare yes or no."""
    if isinstance(value, bool):
        return {} if value else None
    return value


class AdaptiveClippingConfig(Config):
    """The clip norm follows a quantile of the updates' norms (Andrew et al. 2021), counted with noise."""

    quantile: float = 0.5
    """The part of the updates that shall be no longer than the clip norm."""
    lrate: float = 0.2
    """How fast it follows: where it is too long for all of them, by exp(-lrate * (1 - quantile)) a round."""
    count_noise: float | None = None
    """The noise on the count of those that are within, in clients; without it a twentieth of the clients of a round,
    and at least as much as makes the noise on updates 15 % more."""

    @property
    def options(self) -> AdaptiveClipping:
        return AdaptiveClipping(self.quantile, self.lrate, self.count_noise)


class CentralPrivacyConfig(Config):
    """DP-FedAvg (McMahan et al. 2018): whole updates are clipped and count the same, and their sum gets noise.

    Clients are asked by chance, each with the probability `sampling.clients`, from a secret of the run. The sum is
    divided by how many are expected to be asked. Beside it, `privacy` may protect samples at the sites.
    """

    clip_norm: float
    """The bound on an update, as a Euclidean norm over all that is trained; with `adaptive`, of the first round."""
    budget: tuple[float, float] | None = None
    """(epsilon, delta) for each client in the whole run: the noise that it takes is found when the run is submitted."""
    noise_multiplier: float | None = None
    """In the place of a budget: the noise on the sum, over the clip norm."""
    delta: float | None = None
    """With a noise multiplier: at which delta epsilon is told; well below 1 over the number of clients."""
    accountant: str = "rdp"
    """How what is spent is counted: "rdp", "prv" (tighter, slower) or "gdp" (approximate, may be too low)."""
    adaptive: Annotated[AdaptiveClippingConfig | None, BeforeValidator(_as_adaptive)] = None
    """Lets the clip norm follow a quantile of the updates' norms; true, or a table."""
    spare_sums: Annotated[int, Field(ge=0, strict=True)] = 1
    """Sums in the budget beyond one a round: where a leader dies just when it publishes one, its successor does so
    again. A run that has none left ends there, within its budget."""
    evaluations: bool = False
    """Have evaluations all the same. Their losses and metrics get no noise, no epsilon counts them, and they choose
    the weights that the run leaves."""
    planned_noise: float | None = None
    """The noise multiplier of the budget; filled in when the run is submitted."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_seeds(cls, data: Any) -> Any:
        if isinstance(data, dict) and "seed" in data:
            raise ValueError("seed: who knows the seed of the noise can take it off again; the run draws a secret one")
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.budget is None) == (self.noise_multiplier is None):
            raise ValueError("give either a budget (epsilon, delta) or a noise_multiplier, and not both")
        if (self.noise_multiplier is None) != (self.delta is None):
            raise ValueError("delta goes with noise_multiplier, and beside it only: a budget has its own")
        try:
            check_clip_norm(self.clip_norm)
            check_accountant(self.accountant)
            if self.budget is not None:
                Budget(*self.budget, self.accountant)
            if self.delta is not None:
                check_delta(self.delta)
            if self.noise_multiplier is not None:
                Spending(self.noise_multiplier, 1.0, 1)
            _ = self.adaptive and self.adaptive.options
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def told_at(self) -> float:
        """The delta at which epsilon is told."""
        delta = self.delta if self.budget is None else self.budget[1]
        assert delta is not None, "it is given with the noise multiplier"
        return delta

    @property
    def z(self) -> float:
        """The noise multiplier. Raises `ConfigError` for a budget that was not planned."""
        found = self.planned_noise if self.noise_multiplier is None else self.noise_multiplier
        if found is None:
            raise ConfigError("run.central_privacy: the noise of the budget was not planned when the run was submitted")
        return found

    def of_sum(self, *, clip_norm: float, expected: float) -> SumPrivacy:
        """What becomes of the sum of one round. Raises `ConfigError`."""
        adaptive = None if self.adaptive is None else self.adaptive.options
        return SumPrivacy(noise_multiplier=self.z, clip_norm=clip_norm, expected=expected, adaptive=adaptive)
