"""Evaluations of one run at a site that gives them noise: each is paid for before anything is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl.client.privacy import Policy, PrivateRun, digest
from fl.core.dataset import Dataset
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.privacy.accounting import epsilon
from fl.core.privacy.evaluation import PrivateEvaluation, Telling
from fl.core.privacy.keys import EvaluationFacts, evaluation_key, noise_key
from fl.core.privacy.ledger import Entry
from fl.core.privacy.noise import KEY_BYTES, keyed_source
from fl.core.state import pack_state
from fl.core.training import EvaluateResult
from fl.core.vector import NumpyVector
from fl.errors import BudgetSpent, ModelError
from fl.log import get_log

NOTHING: Final = EvaluateResult(loss_sum=0.0, weight_sum=0.0, n_samples=0, metrics={}, seconds=0.0)
"""What an evaluation tells that was not done."""

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Secret:
    """Whose noise it is: a run's at this site, from a seed that nobody else knows."""

    run: str
    seed: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be evaluated on what: all that the outcome depends on but for its noise."""

    round_: int
    task: str
    """A digest of what the run has in common."""
    weights: NumpyVector
    state: Mapping[str, Any]
    """The model's own."""
    dataset: Dataset


def untold(metric: str) -> str:
    """What a site says of a metric that `withheld` names."""
    return f"metric {metric!r} has no bound on what one sample adds, in which noise could hide it: it is not told"


class NoisyEvaluations:
    """What the evaluations of one run may tell, as long as the site's cap allows. Raises `ConfigError`."""

    def __init__(self, telling: Telling, policy: Policy, secret: Secret) -> None:
        assert policy.cap is not None, "a site that pays for evaluations has a cap"
        # whoever lacks a package that counting and noise take hears of it before the run begins
        epsilon([telling.spending], delta=policy.cap.delta, accountant=policy.cap.accountant)
        keyed_source(bytes(KEY_BYTES), secure=True)
        self.telling = telling
        self._policy = policy
        self._cap = policy.cap
        self._secret = secret
        self._said: set[str] = set()
        """What of an evaluation is not told, as far as that was said."""
        self._alone: bool | None = None
        """Whether samples are shown to the model one by one; None: not looked at yet."""

    def withheld(self, metrics: MetricSet) -> tuple[str, ...]:
        """Names of metrics that are not told, as no noise can hide a sample in them."""
        told = {key.partition("/")[0] for key in metrics.bounds(loss=self.telling.loss_bound)}
        return tuple(name for name in metrics.metrics if self.telling.share_metrics and name not in told)

    def pay(
        self, look: Look, model: Model, metrics: MetricSet, *, private: PrivateRun | None
    ) -> PrivateEvaluation | None:
        """An evaluation that is paid for; None where there is nothing to tell, or nothing left to pay with.

        It leaves enough for the steps that a `private` run has planned on the same data. The same again has the same
        noise, and is free. Raises `NoRoom`, and `ConfigError` for a ledger that cannot be trusted.
        """
        for metric in self.withheld(metrics):
            self._say_once(metric, untold(metric))
        bounds = self.telling.bounds(metrics)
        if not bounds:
            return None
        secret, dataset = self._secret, look.dataset.fingerprint()
        facts = EvaluationFacts(
            run=secret.run,
            task=look.task,
            dataset=dataset,
            weights=digest(look.weights),
            state=digest(pack_state(look.state)),
            bounds=bounds,
            noise_multiplier=self.telling.noise_multiplier,
        )
        key = evaluation_key(secret.seed, facts)
        entry = Entry(
            at=self._policy.clock(),
            dataset=dataset,
            run=secret.run,
            round_=look.round_,
            key=key,
            paid=self.telling.spending,
            purpose="evaluation",
        )
        try:
            self._policy.spend(entry, budget=self._cap, reserved=() if private is None else private.unpaid(dataset))
        except BudgetSpent as error:
            self._say_once("all", str(error))
            return None
        return PrivateEvaluation(
            telling=self.telling,
            bounds=bounds,
            noise=keyed_source(noise_key(secret.seed, key), secure=True),
            alone=self._is_alone(model),
        )

    def _is_alone(self, model: Model) -> bool:
        if self._alone is None:
            try:
                model.check_separate()
            except ModelError:
                self._alone = True
            else:
                self._alone = False
        return self._alone

    def _say_once(self, what: str, reason: str) -> None:
        if what not in self._said:
            log.warning("not_told", run=self._secret.run, what=what, reason=reason)
            self._said.add(what)
