"""Sums of clients' updates that a centrally private run lets others see: how private each is, and how many there are.

A sum is seen once weights are made of it, which is before they are committed. A leader that was replaced meanwhile may
have published one that its successor publishes again. The noise of both is the same where the sums are, since it comes
from a key of the sum itself; but they need not be, as where a site trains again. So each leader under which a round was
closed counts as one sum, whether it came to it or not: what is counted is never less than what was seen.
"""

from dataclasses import dataclass
from typing import Final

from fl.core.privacy.accounting import Spending, epsilon, noise_multiplier
from fl.core.privacy.central import SumPrivacy
from fl.core.privacy.options import Budget
from fl.run.central import CentralPrivacyConfig
from fl.run.events import Kind, RoundOpened
from fl.run.spec import RunSpec
from fl.run.state import RunState

SECRET_BYTES: Final = 32
SPENT: Final = "the budget of central privacy is spent"


def planned(spec: RunSpec) -> RunSpec:
    """The spec, and in it the noise that its budget takes. Raises `ConfigError` for a budget that no noise keeps."""
    central = spec.run.central_privacy
    if central is None:
        return spec
    if central.budget is not None:
        budget = Budget(*central.budget, central.accountant)
        noise = noise_multiplier(budget, sample_rate=rate(spec), steps=spec.run.rounds + central.spare_sums)
        central = central.model_copy(update={"planned_noise": noise})
    central.of_sum(clip_norm=central.clip_norm, expected=1.0)
    return spec.model_copy(update={"run": spec.run.model_copy(update={"central_privacy": central})})


def rate(spec: RunSpec) -> float:
    """q: with which probability a client is asked in a round."""
    return float(spec.run.sampling.clients)


def is_noised(spec: RunSpec, opened: RoundOpened) -> bool:
    """Whether the sum of this round gets noise."""
    return spec.run.central_privacy is not None and opened.kind is Kind.TRAIN


def privacy_of_sum(state: RunState) -> SumPrivacy | None:
    """What becomes of the sum of the open round, where it gets noise."""
    central, open_ = state.spec.run.central_privacy, state.open
    if central is None or open_ is None or open_.opened.kind is not Kind.TRAIN:
        return None
    return central.of_sum(clip_norm=clip_norm(state, central), expected=rate(state.spec) * open_.n_ready)


def clip_norm(state: RunState, central: CentralPrivacyConfig) -> float:
    """Of the next sum."""
    return central.clip_norm if state.clip_norm is None else state.clip_norm


def most_sums(spec: RunSpec) -> int | None:
    """How many sums the run's budget is for; None: it has no budget."""
    central = spec.run.central_privacy
    if central is None or central.budget is None:
        return None
    return spec.run.rounds + central.spare_sums


def is_spent(state: RunState, *, more: int = 1) -> bool:
    """Whether so many sums more would be beyond the budget."""
    most = most_sums(state.spec)
    return most is not None and state.released + more > most


@dataclass(frozen=True, slots=True)
class Spent:
    """What the sums of a centrally private run have cost each of its clients."""

    sums: Spending
    delta: float
    accountant: str

    @property
    def epsilon(self) -> float:
        """At `delta`. Raises `ConfigError` where Opacus, which accounts for it, is not installed."""
        return epsilon([self.sums], delta=self.delta, accountant=self.accountant)


def spent(state: RunState) -> Spent | None:
    """What the run has cost so far; None where it is not centrally private."""
    central = state.spec.run.central_privacy
    if central is None:
        return None
    return Spent(Spending(central.z, rate(state.spec), state.released), central.told_at, central.accountant)
