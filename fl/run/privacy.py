"""What a run asks of the sites' privacy: differential privacy of each of their samples."""

from typing import Any, Self

from pydantic import model_validator

from fl.core.privacy.options import PrivacyOptions
from fl.errors import ConfigError
from fl.run.config import Config


class PrivacyConfig(Config):
    """Each site trains by DP-SGD (Abadi et al. 2016): the gradient of every sample is clipped, and each step noised.

    A site draws its own noise, from a seed that nobody else knows, and writes down what is spent before it is.
    """

    budget: tuple[float, float]
    """(epsilon, delta) for each sample of a site in all steps of a run; delta well below 1 over the number of samples.

    Evaluations are the sites' own business: they say what these tell without noise, or pay for noise beside it."""
    sclip_norm: float
    """The bound on a sample's gradient, as a Euclidean norm over all tensors."""
    accountant: str = "rdp"
    """How what is spent is counted: "rdp", "prv" (tighter, slower) or "gdp" (approximate, may be too low)."""
    use_csprng: bool = False
    """Draw noise from a cipher, in a way that rounding cannot betray; it takes several times as long to draw."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_seeds(cls, data: Any) -> Any:
        if isinstance(data, dict) and "seed" in data:
            raise ValueError("seed: who knows the seed of the noise can take it off again, so each site draws its own")
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            _ = self.options
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def options(self) -> PrivacyOptions:
        epsilon, delta = self.budget
        return PrivacyOptions(epsilon, delta, self.sclip_norm, accountant=self.accountant, use_csprng=self.use_csprng)
