"""Differential privacy of whole clients, by noise on the sum of their updates (DP-FedAvg: McMahan et al. 2018).

Whoever sees the weights that a run publishes learns little of any one client, however many samples it has: its update
is clipped to the norm S, all count the same, and the sum of a round gets noise N(0, (z·S)²·I). It is divided by the
number of clients that were *expected*, as how many there were is somebody's secret. Two runs are neighbours where one
client's updates are zero in one of them. Each client is asked with probability q, whatever the others do, so a round
costs what a step of DP-SGD costs, with clients in the place of samples (`accounting.py`).

Nothing here knows who clips, the server that adds up or a client before its update is hidden in a secure sum.
"""

import math
from dataclasses import dataclass
from typing import Final

from fl.errors import ConfigError

SENSITIVITY: Final = 0.5
"""By how much one client changes a count in which each has ±1/2."""
LEAST_COUNT_NOISE: Final = 1.0
"""Of the noise on that count, where nobody says how much, in units of z: sums then need 15 % more noise."""

MOST_CHANGE: Final = 1.0
"""Of the logarithm of a clip norm in a round, which noise alone may exceed where hardly a client is expected."""


@dataclass(frozen=True, slots=True)
class AdaptiveClipping:
    """The bound on updates follows a quantile of their norms (Andrew et al. 2021). Raises `ConfigError`."""

    quantile: float = 0.5
    """gamma: the part of the updates that shall be no longer than the bound."""
    lrate: float = 0.2
    """eta_C: a bound that is too long for all updates shrinks by exp(-eta_C·(1 - gamma)) a round."""
    count_noise: float | None = None
    """sigma_b: the standard deviation of the noise on how many updates are within the bound, in clients.

    Without it a twentieth of the clients that are expected, as the paper has it, and never less than z."""

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ConfigError(f"quantile is {self.quantile}: use a part of the clients, from 0 to 1")
        if not 0 < self.lrate < math.inf:
            raise ConfigError(f"lrate of the clip norm is {self.lrate}: use a number above 0, such as 0.2")
        if self.count_noise is not None and not 0 < self.count_noise < math.inf:
            raise ConfigError(f"count_noise is {self.count_noise}: use a number above 0, as a twentieth of the clients")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPrivacy:
    """What becomes of the sum of one round. Raises `ConfigError` where there is no such noise."""

    noise_multiplier: float
    """z: what the round costs is that of noise z·S on the sum alone, whatever is counted beside it."""
    clip_norm: float
    """S."""
    expected: float
    """How many clients are in a round on average: q times those that could be asked."""
    adaptive: AdaptiveClipping | None = None

    def __post_init__(self) -> None:
        check_clip_norm(self.clip_norm)
        if not (0 < self.noise_multiplier < math.inf and 0 < self.expected < math.inf):
            raise ConfigError(
                f"noise_multiplier is {self.noise_multiplier} for {self.expected} expected clients: use numbers above 0"
            )
        if 2 * self.count_noise <= self.noise_multiplier and self.adaptive is not None:
            raise ConfigError(
                f"count_noise is {self.count_noise:g}: with noise_multiplier {self.noise_multiplier:.4g}, counting who "
                f"is within the clip norm takes more than {self.noise_multiplier / 2:.4g} by itself; use about "
                f"{max(self.expected / 20, self.noise_multiplier):.3g}"
            )

    @property
    def count_noise(self) -> float:
        """sigma_b; of no use where nothing is counted."""
        given = None if self.adaptive is None else self.adaptive.count_noise
        return max(self.expected / 20, LEAST_COUNT_NOISE * self.noise_multiplier) if given is None else given

    @property
    def sum_noise(self) -> float:
        """The standard deviation of the noise on each number of the sum: z_delta·S.

        Both releases together cost what z alone would: z_delta = (z^-2 - (2·sigma_b)^-2)^(-1/2) (theorem 1).
        """
        z = self.noise_multiplier
        if self.adaptive is not None:
            z = (z**-2 - (self.count_noise / SENSITIVITY) ** -2) ** -0.5
        return z * self.clip_norm

    def next_clip_norm(self, noisy_count: float) -> float:
        """S of the next round: S·exp(-eta_C·(b - gamma)) (algorithm 1), b being the part of updates within S.

        `noisy_count` is Σ (b_i - 1/2) and its noise, where b_i is 1 for an update within S, else 0.
        """
        if self.adaptive is None:
            return self.clip_norm
        within = noisy_count / self.expected + SENSITIVITY
        change = -self.adaptive.lrate * (within - self.adaptive.quantile)
        return self.clip_norm * math.exp(min(max(change, -MOST_CHANGE), MOST_CHANGE))


def clip_factor(norm: float, clip_norm: float) -> float:
    """What an update of this Euclidean norm is to be multiplied with, so that it is no longer than `clip_norm`.

    0 where the norm is beyond what floats hold.
    """
    return clip_norm / max(norm, clip_norm)


def check_clip_norm(clip_norm: float) -> None:
    if not 0 < clip_norm < math.inf:
        raise ConfigError(f"clip_norm is {clip_norm}: use a number above 0, as long as a typical client's update")
