"""What noisy steps cost: epsilon of what has been spent, and the noise that a budget needs.

A step is the subsampled Gaussian mechanism: each sample takes part with probability q, the sum of gradients no longer
than C gets noise N(0, (sigma·C)²·I). Spendings of different sigma and q are composed, and their
epsilons never added, by one of:

    rdp   Rényi DP (Mironov, Talwar & Zhang 2019), converted by Balle et al. (2020): an upper bound, and quick
    prv   privacy loss distributions, convolved (Gopi, Lee & Wutschitz 2021): an upper bound, tighter, slower
    gdp   central limit theorem of Gaussian DP (Bu et al. 2020): an approximation for many steps, that may be *too low*

All three are Opacus's, and give what Opacus gives. It is imported when something is to be computed, and torch with it
for prv alone.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.core.privacy.options import Budget, check_accountant, check_delta
from fl.errors import ConfigError

LEAST_NOISE: Final = 0.01
MOST_NOISE: Final = 1e6
"""Noise multipliers between which there is anything to account for."""
CLOSE: Final = 1e-3
"""How much of a budget the search for its noise may leave, as a part of it."""
ORDERS: Final = (*(1 + tenths / 10 for tenths in range(1, 100)), *range(12, 64))
"""Of Rényi divergences: those that Opacus looks at."""
FINEST_GRID: Final = 2**22
"""Points on which privacy losses are convolved. More are needed beyond any use only: for epsilons of several tens."""
PRV_ERROR: Final = 0.01
"""Of epsilon, and 1/1000 of delta: what Opacus allows by default. The upper end is what counts."""


@dataclass(frozen=True, slots=True)
class Spending:
    """Steps of one kind. Raises `ConfigError` for what is none."""

    noise_multiplier: float
    """sigma: the standard deviation of the noise on the sum of gradients, over the bound C on a sample's."""
    sample_rate: float
    """q: the probability that a sample is in a step's batch, whatever the others do."""
    steps: int

    def __post_init__(self) -> None:
        if not LEAST_NOISE <= self.noise_multiplier <= MOST_NOISE:
            raise ConfigError(
                f"noise_multiplier is {self.noise_multiplier}: use {LEAST_NOISE} to {MOST_NOISE:.0e}; with less there "
                "is no privacy to speak of"
            )
        _check_rate(self.sample_rate)
        if self.steps < 0 or int(self.steps) != self.steps:
            raise ConfigError(f"steps are {self.steps}: use a whole number of at least 0")


def epsilon(spendings: Iterable[Spending], *, delta: float, accountant: str) -> float:
    """ε at `delta` of all spendings together, in whatever order; 0 for none, ∞ where the accountant has no bound.

    Raises `ConfigError`.
    """
    check_delta(delta)
    check_accountant(accountant)
    steps: Counter[tuple[float, float]] = Counter()
    for one in spendings:
        steps[float(one.noise_multiplier), float(one.sample_rate)] += int(one.steps)
    return _epsilon(tuple(sorted((*kind, n) for kind, n in steps.items() if n)), float(delta), accountant)


def noise_multiplier(budget: Budget, *, sample_rate: float, steps: int) -> float:
    """The noise with which so many steps cost no more than `budget`, and at most a thousandth less where any does.

    Raises `ConfigError` where no noise is enough, as an accountant's own bounds do not go down to any epsilon.
    """
    _check_rate(sample_rate)
    if steps < 1 or int(steps) != steps:
        raise ConfigError(f"steps are {steps}: noise is for at least one")
    return _noise_multiplier(budget, float(sample_rate), int(steps))


@lru_cache(maxsize=256)
def _noise_multiplier(budget: Budget, sample_rate: float, steps: int) -> float:
    def cost(sigma: float) -> float:
        return epsilon([Spending(sigma, sample_rate, steps)], delta=budget.delta, accountant=budget.accountant)

    low, high = _bracket(cost, budget, *_guess(budget, sample_rate, steps))
    return high if low is None else _narrowed(cost, budget.epsilon, low, high)


def _guess(budget: Budget, sample_rate: float, steps: int) -> tuple[float, float]:
    """Noise to begin the search with, and by which factor it may be wrong: for prv, what rdp takes, which is quick."""
    if budget.accountant == "prv":
        try:
            return _noise_multiplier(replace(budget, accountant="rdp"), sample_rate, steps), 1.1
        except ConfigError:  # a budget that rdp has no noise for
            pass
    return 1.0, 2.0


def _bracket(cost: Callable[[float], float], budget: Budget, start: float, factor: float) -> tuple[float | None, float]:
    """Noise that is too little, and noise that is enough, a factor of at most 2 apart; no first where the least does.

    `factor` is that of the first steps away from `start`.
    """
    high, stride = start, factor
    while cost(high) > budget.epsilon:
        if high == MOST_NOISE:
            raise ConfigError(
                f"epsilon={budget.epsilon} at delta={budget.delta} is out of reach of accountant "
                f"{budget.accountant!r}: it says {cost(high):.3g} for any amount of noise; use a larger epsilon or "
                "delta, or accountant 'prv'"
            )
        high, stride = min(stride * high, MOST_NOISE), min(stride**2, 2.0)
    low, stride = max(high / factor, LEAST_NOISE), factor
    while cost(low) <= budget.epsilon:
        if low == LEAST_NOISE:
            return None, low
        low, high, stride = max(low / stride, LEAST_NOISE), low, min(stride**2, 2.0)
    return low, high


def _narrowed(cost: Callable[[float], float], target: float, low: float, high: float) -> float:
    """The upper end of a bracket, narrowed in logarithms, in which epsilon is nearly straight (the Illinois method)."""

    def gap(sigma: float) -> float:
        return math.log(min(max(cost(sigma) / target, 1e-100), 1e100))

    below, above, last = gap(low), gap(high), 0
    while cost(high) < target * (1 - CLOSE) and high > low * (1 + CLOSE / 10):
        middle = low * (high / low) ** min(max(below / (below - above), 0.01), 0.99)
        value = gap(middle)
        side = 1 if value > 0 else -1
        if side > 0:
            low, below = middle, value
            above = above / 2 if last == side else above
        else:
            high, above = middle, value
            below = below / 2 if last == side else below
        last = side
    return high


@lru_cache(maxsize=4096)
def _epsilon(kinds: tuple[tuple[float, float, int], ...], delta: float, accountant: str) -> float:
    if not kinds:
        return 0.0
    compute = {"rdp": _epsilon_rdp, "prv": _epsilon_prv, "gdp": _epsilon_gdp}[accountant]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # of orders at the end of their list, and of logarithms of 0 where every sample is in every batch
        warnings.simplefilter("ignore")
        found = compute(kinds, delta)
    return max(0.0, found) if not math.isnan(found) else math.inf


def _epsilon_rdp(kinds: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """The least of the bounds that orders give, of which a dozen are looked at.

    The bound of an order is a convex function of it, over the order less 1: that times rdp is convex, and so is what
    Balle et al. add. So it falls to its least and rises from there. What is not finite is of too large an order.
    """

    def rdp(order: float) -> float:
        return sum(_step_rdp(sigma, rate, order) * n for sigma, rate, n in kinds)

    def bound(order: float) -> float:
        found = rdp(order) - math.log(delta * order) / (order - 1) + math.log((order - 1) / order)
        return found if not math.isnan(found) else math.inf

    low, high = 0, len(ORDERS) - 1
    while low < high:
        middle = (low + high) // 2
        if bound(ORDERS[middle]) > bound(ORDERS[middle + 1]):
            low = middle + 1
        else:
            high = middle
    near = ORDERS[max(0, low - 1) : low + 2]
    found, _ = _arithmetic("rdp").get_privacy_spent(orders=near, rdp=[rdp(order) for order in near], delta=delta)
    return float(found)


@lru_cache(maxsize=1 << 16)
def _step_rdp(sigma: float, rate: float, order: float) -> float:
    """The Rényi divergence of one step: milliseconds for rates near 1/2, and the same for every round."""
    (rdp,) = _arithmetic("rdp").compute_rdp(q=rate, noise_multiplier=sigma, steps=1, orders=[order])
    return float(rdp)


def _epsilon_prv(kinds: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """As Opacus composes them, but for what it computes anew each time: the divergences that say how wide the grid is.

    Rényi's bound, which holds as well, where the distributions do not fit on the grid.
    """
    prv = _opacus("analysis.prv")
    total, delta_error = sum(n for *_, n in kinds), delta / 1000
    singles = [_epsilon_rdp(((sigma, rate, 1),), delta_error / (8 * total)) for sigma, rate, _ in kinds]
    width = max(PRV_ERROR, _epsilon_rdp(kinds, delta_error / 4), *singles) + 3
    mesh = PRV_ERROR / math.sqrt(total * math.log(12 / delta_error) / 2)
    if not 2 * width / mesh <= FINEST_GRID:
        return _epsilon_rdp(kinds, delta)
    grid = prv.Domain.create_aligned(-width, width, mesh)
    losses = [prv.PoissonSubsampledGaussianPRV(rate, sigma) for sigma, rate, _ in kinds]
    cut = [prv.TruncatedPrivacyRandomVariable(loss, grid.t_min, grid.t_max) for loss in losses]
    composed = prv.compose_heterogeneous([prv.discretize(loss, grid) for loss in cut], [n for *_, n in kinds])
    _, _, upper = composed.compute_epsilon(delta, delta_error, PRV_ERROR)
    return float(upper)


def _epsilon_gdp(kinds: tuple[tuple[float, float, int], ...], delta: float) -> float:
    """The dual of μ-GDP (Dong, Roth & Su 2022, corollary 1), where μ² of all spendings add up (their corollary 2)."""
    gdp = _arithmetic("gdp")
    mu = math.hypot(
        *(gdp.compute_mu_poisson(steps=n, noise_multiplier=sigma, sample_rate=rate) for sigma, rate, n in kinds)
    )
    if not math.isfinite(mu):
        return math.inf
    if gdp.delta_eps_mu(eps=0.0, mu=mu) <= delta:
        return 0.0
    if gdp.delta_eps_mu(eps=500.0, mu=mu) >= delta:  # where Opacus's search ends
        return math.inf
    return float(gdp.eps_from_mu(mu=mu, delta=delta))


@cache
def _arithmetic(name: str) -> Any:
    """A module of Opacus's that needs numpy and scipy alone, without the rest, which imports torch for seconds."""
    package = find_spec("opacus")
    if package is None:
        raise _missing("opacus")
    if package.origin is not None:
        file = Path(package.origin).parent / "accountants" / "analysis" / f"{name}.py"
        found = spec_from_file_location(f"_opacus_{name}", file)
        if file.is_file() and found is not None and found.loader is not None:
            module = module_from_spec(found)
            found.loader.exec_module(module)
            return module
    return _opacus(f"analysis.{name}")


@cache
def _opacus(module: str) -> Any:
    try:
        return import_module(f"opacus.accountants.{module}")
    except ModuleNotFoundError as error:
        raise _missing(error.name) from None


def _missing(name: str | None) -> ConfigError:
    return ConfigError(f"accounting for privacy needs {name}: install fluffle[dp]")


def _check_rate(sample_rate: float) -> None:
    if not 0 < sample_rate <= 1:
        raise ConfigError(
            f"sample_rate is {sample_rate}: use a number above 0 and at most 1, the batch size over the samples here"
        )
