"""What a budget means for a run at one site: how much noise, in how many steps, and what is left to learn from."""

import math
from dataclasses import dataclass, replace

from fl.core.dataset.sampling import Batching
from fl.core.privacy.accounting import Spending, epsilon, noise_multiplier
from fl.core.privacy.options import Budget
from fl.core.training import Effort
from fl.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All rounds of a run at a site, if it takes part in each and makes every step."""

    n_samples: int
    rounds: int
    steps_per_round: int
    total: Spending
    epsilon: float
    """Of all steps together: at most the budget's."""
    budget: Budget

    @property
    def round_spending(self) -> Spending:
        """What a round is to pay for."""
        return replace(self.total, steps=self.steps_per_round)

    @property
    def batch(self) -> float:
        """B: how many samples are expected in a batch."""
        return self.total.sample_rate * self.n_samples

    @property
    def noise_std(self) -> float:
        """Of the noise on each number of a mean gradient, where no sample's is longer than C = 1: sigma / B."""
        return self.total.noise_multiplier / self.batch

    def signal_to_noise(self, n_parameters: int) -> float:
        """Of one step, at best: ‖mean gradient‖ = C, if all samples agree, over the noise's root mean square norm.

        C / (sigma·C/B · √d) = B / (sigma·√d) for d parameters. What is learned comes from many steps, in which noise
        averages out and the signal does not; so one step may be far below 1.
        """
        return 1.0 / (self.noise_std * math.sqrt(n_parameters))


def plan(*, n_samples: int, batching: Batching, rounds: int, effort: Effort, budget: Budget) -> Plan:
    """Raises `ConfigError` where there is no such plan, as where only time ends a round."""
    if n_samples < 1 or rounds < 1:
        raise ConfigError(f"{rounds} rounds over {n_samples} samples: use at least 1 of each")
    in_epoch = replace(batching, poisson=True, shuffle=False, replacement=False).n_batches(n_samples)
    each, rate = effort.most_steps(in_epoch), batching.sample_rate(n_samples)
    sigma = noise_multiplier(budget, sample_rate=rate, steps=rounds * each)
    total = Spending(sigma, rate, rounds * each)
    spent = epsilon([total], delta=budget.delta, accountant=budget.accountant)
    return Plan(n_samples=n_samples, rounds=rounds, steps_per_round=each, total=total, epsilon=spent, budget=budget)
