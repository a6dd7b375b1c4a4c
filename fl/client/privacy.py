"""A private run at one site: how much noise it takes, and that every step is paid for before it is done."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.client.disk import is_full, no_room
from fl.core.data_info import DataInfo
from fl.core.dataset import Dataset
from fl.core.mergeable import Sum
from fl.core.optimizer.aux import pack_aux
from fl.core.privacy.accounting import Spending, epsilon
from fl.core.privacy.keys import RoundFacts, batches_generator, noise_key, spending_key
from fl.core.privacy.ledger import Accounts, Entry
from fl.core.privacy.noise import keyed_source
from fl.core.privacy.options import Budget, PrivacyOptions
from fl.core.privacy.planning import plan
from fl.core.privacy.private import PrivateSteps
from fl.core.state import pack_state
from fl.core.training import Batching, Effort
from fl.core.vector import NumpyVector
from fl.errors import BudgetSpent
from fl.run.spec import RunSpec
from fl.run.terms import Terms

NOTHING: Final = ""
"""In the place of the digest of what is not there."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site allows of its data's privacy, and where what is spent is written down."""

    accounts: Accounts
    clock: Callable[[], float]
    """Seconds since the epoch."""
    cap: Budget | None = None
    """What all runs together may spend on one dataset."""

    def spend(
        self, entry: Entry, *, budget: Budget, planned: Spending | None = None, reserved: Sequence[Spending] = ()
    ) -> None:
        """Write it down. Raises `BudgetSpent` and `NoRoom`, and then it may not be done."""
        try:
            self.accounts.spend(entry, budget=budget, cap=self.cap, planned=planned, reserved=reserved)
        except OSError as error:
            if is_full(error):
                raise no_room(Path(error.filename), error) from None
            raise


@dataclass(frozen=True, slots=True)
class Work:
    """Who trains on what, how much and how often, in the whole of a run."""

    run: str
    task: str
    """A digest of what the run has in common."""
    seed: bytes
    """The site's own, which nobody else knows."""
    dataset: Dataset
    batching: Batching
    effort: Effort
    rounds: int


@dataclass(frozen=True, slots=True)
class Start:
    """What a round starts from: all that its gradients depend on but for its randomness."""

    round_: int
    counted: int
    weights: NumpyVector
    state: dict[str, Any]
    aux: Mapping[str, Sum]


class PrivateRun:
    """The steps of one run at one site. Raises `ConfigError` where no noise makes the budget do."""

    def __init__(self, options: PrivacyOptions, policy: Policy, work: Work) -> None:
        planned = plan(
            n_samples=work.dataset.n_samples,
            batching=work.batching,
            rounds=work.rounds,
            effort=work.effort,
            budget=options.budget,
        )
        self._options = options
        self._policy = policy
        self._work = work
        self._dataset = work.dataset.fingerprint()
        self._of_round = planned.round_spending
        self._of_run = planned.total

    def terms(self, unprotected: tuple[str, ...]) -> Terms:
        """How it goes on; `unprotected` is what leaves the site without noise.

        Raises `BudgetSpent` where the run, after all others on these data, would spend more than the site allows.
        """
        before = [
            line.entry.paid
            for line in self._policy.accounts.lines()
            if line.entry.dataset == self._dataset and not self._is_own(line.entry)
        ]
        self._check_cap(before)
        options = self._options
        spent = epsilon(before, delta=options.delta, accountant=options.accountant)
        return Terms(self._of_run.noise_multiplier, self._of_run.steps, spent, unprotected, self._warnings())

    def pay(self, start: Start) -> tuple[PrivateSteps, np.random.Generator]:
        """The steps of a round and what their batches are drawn from, once they are paid for.

        Raises `BudgetSpent` and `NoRoom`, and then none of them may be done.
        """
        options, work = self._options, self._work
        facts = RoundFacts(
            run=work.run,
            task=work.task,
            round_=start.round_,
            counted=start.counted,
            dataset=self._dataset,
            weights=digest(start.weights),
            state=digest(pack_state(start.state)),
            aux=digest(pack_aux(start.aux)),
            paid=self._of_round,
            sclip_norm=options.sclip_norm,
            secure=options.use_csprng,
        )
        key = spending_key(work.seed, facts)
        entry = Entry(
            at=self._policy.clock(),
            dataset=self._dataset,
            run=work.run,
            round_=start.round_,
            key=key,
            paid=self._of_round,
        )
        self._policy.spend(entry, budget=options.budget, planned=self._of_run)
        noise = keyed_source(noise_key(work.seed, key), secure=options.use_csprng)
        return PrivateSteps(self._of_round, options.sclip_norm, noise), batches_generator(work.seed, key)

    def unpaid(self, dataset: str) -> tuple[Spending, ...]:
        """What the run is still to spend on a dataset, if it goes as it was planned."""
        if dataset != self._dataset:
            return ()
        own = [line.entry.paid.steps for line in self._policy.accounts.lines() if self._is_own(line.entry)]
        left = self._of_run.steps - sum(own)
        return (replace(self._of_run, steps=left),) if left > 0 else ()

    def samples_of(self, n_steps: int) -> int:
        """How many samples so many steps see by expectation: how many they did see is the site's own business."""
        return round(n_steps * self._of_round.sample_rate * self._work.dataset.n_samples)

    def _is_own(self, entry: Entry) -> bool:
        """Whether it was paid for by this run's budget."""
        return (entry.dataset, entry.run, entry.purpose) == (self._dataset, self._work.run, "training")

    def _check_cap(self, before: list[Spending]) -> None:
        cap = self._policy.cap
        if cap is None:
            return
        total = epsilon([*before, self._of_run], delta=cap.delta, accountant=cap.accountant)
        if total > cap.epsilon:
            spent = epsilon(before, delta=cap.delta, accountant=cap.accountant)
            raise BudgetSpent(
                f"this run would bring what is spent on this site's data from epsilon={spent:.4g} to {total:.4g} at "
                f"delta={cap.delta:g}, and the site's cap is {cap.epsilon:g}: ask for a smaller budget",
                epsilon=total,
                limit=cap.epsilon,
            )

    def _warnings(self) -> tuple[str, ...]:
        n_samples, batch_size = self._work.dataset.n_samples, self._work.batching.batch_size
        found = []
        if self._options.delta * n_samples >= 1:
            found.append(
                f"delta={self._options.delta:g} is not below 1/{n_samples}, one over the number of samples: a run that "
                "gave one of them away would keep to it"
            )
        if batch_size > n_samples:
            found.append(f"batches of {batch_size} are more than the {n_samples} samples here: each step sees them all")
        return tuple(found)


def task_digest(spec: RunSpec, data_info: DataInfo, fixed: NumpyVector | None) -> str:
    """Of what a run has in common, but for the weights of its rounds: another spec, say, is another task."""
    return hashlib.sha256("\n".join((spec.to_json(), repr(data_info), digest(fixed))).encode()).hexdigest()


def digest(values: NumpyVector | None) -> str:
    """Of names, kinds and shapes, and of all values."""
    if values is None:
        return NOTHING
    digest = hashlib.sha256(repr(values.layout).encode())
    digest.update(values.pack())
    return digest.hexdigest()
