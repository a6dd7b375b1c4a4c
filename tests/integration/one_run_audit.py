"""What one training run gives away of who was in it, as a lower bound of epsilon (Steinke, Nasr & Jagielski 2023)."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from fl.core.vector import Array

CONFIDENCE: Final = 0.95
BISECTIONS: Final = 40


@dataclass(frozen=True, slots=True)
class Guesses:
    """What an attacker made of the coins that put canaries into the data or left them out."""

    canaries: int
    """m: how many coins were thrown."""
    made: int
    """r: how many the attacker ventured a guess about."""
    right: int
    """v"""

    @classmethod
    def of(cls, scores: Array, coins: Array, *, made: int) -> "Guesses":
        """The highest scores are taken for in, and the lowest for out: as many of each, and none between them."""
        order = np.argsort(scores, kind="stable")
        lowest, highest = order[: made // 2], order[len(order) - made // 2 :]
        right = np.count_nonzero(~coins[lowest]) + np.count_nonzero(coins[highest])
        return cls(len(coins), 2 * (made // 2), int(right))

    def chance(self, *, epsilon: float, delta: float) -> float:
        """An upper bound of the probability to be right so often about what is (epsilon, delta)-private: theorem 5.2.

        With W ~ Binomial(r, 1/(1 + e^-epsilon)), it is P[W ≥ v] + 2·m·delta·max_i P[v > W ≥ v - i]/i.
        """
        guesses = stats.binom(self.made, 1 / (1 + math.exp(-epsilon)))
        below = np.cumsum(guesses.pmf(np.arange(self.right - 1, -1, -1)))
        alpha = np.max(below / np.arange(1, self.right + 1), initial=0.0)
        return min(1.0, float(guesses.sf(self.right - 1) + 2 * self.canaries * delta * alpha))

    def least_epsilon(self, *, delta: float) -> float:
        """No mechanism of a smaller epsilon at `delta` has so many right guesses but by a chance of 1 - `CONFIDENCE`.

        0 where that can be said of none.
        """
        low, high = 0.0, 1.0
        while self.chance(epsilon=high, delta=delta) < 1 - CONFIDENCE:
            low, high = high, 2 * high
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self.chance(epsilon=middle, delta=delta) < 1 - CONFIDENCE:
                low = middle
            else:
                high = middle
        return low
