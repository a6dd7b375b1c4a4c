"""How private a run is to be: a budget, what it is counted with, and how long a sample's gradient may be."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Final

from fl.core.registry import nearest
from fl.errors import ConfigError

ACCOUNTANTS: Final = ("rdp", "prv", "gdp")
"""How spendings are composed; `accounting.py` says what each is good for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """(ε, δ)-differential privacy of one sample, by an accountant. Raises `ConfigError` for what is no budget."""

    epsilon: float
    delta: float
    accountant: str = "rdp"

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ConfigError(f"epsilon is {self.epsilon}: use a number above 0, such as 8; less takes more noise")
        check_delta(self.delta)
        check_accountant(self.accountant)


@dataclass(frozen=True, slots=True)
class PrivacyOptions:
    """What a run asks of each site that trains privately. Raises `ConfigError`."""

    epsilon: float
    """What a site may spend in the whole run."""
    delta: float
    """Well below 1 over the number of samples."""
    sclip_norm: float
    """C: no sample's gradient is longer, over all tensors."""
    _: KW_ONLY
    accountant: str = "rdp"
    use_csprng: bool = False
    """Noise from a cipher, as sums that do not show how they were rounded; several times slower to draw."""

    def __post_init__(self) -> None:
        check_clip(self.sclip_norm)
        _ = self.budget  # which raises for the rest

    @property
    def budget(self) -> Budget:
        return Budget(self.epsilon, self.delta, self.accountant)


def check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ConfigError(f"delta is {delta}: use a number between 0 and 1, well below 1 over the number of samples")


def check_accountant(accountant: str) -> None:
    if accountant not in ACCOUNTANTS:
        raise ConfigError(f"there is no accountant {accountant!r}: {nearest(accountant, list(ACCOUNTANTS))}")


def check_clip(sclip_norm: float) -> None:
    if not 0 < sclip_norm < math.inf:
        raise ConfigError(f"sclip_norm is {sclip_norm}: use a number above 0, as long as a typical sample's gradient")
