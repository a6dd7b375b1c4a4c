"""One client's part of a run, over its own data: no messages, no event loop."""

import hashlib
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fl.client.evaluations import NOTHING, Look, NoisyEvaluations, untold
from fl.client.privacy import Policy, PrivateRun, Start, Work, task_digest
from fl.client.round_states import RoundStates
from fl.core.compression import Feedback
from fl.core.data_info import DataInfo
from fl.core.dataset import Dataset
from fl.core.device import DevicePolicy
from fl.core.layout import Layout, Role
from fl.core.mergeable import Sum
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.privacy.options import PrivacyOptions
from fl.core.privacy.private import PrivateSteps
from fl.core.training import (
    Batching,
    Effort,
    EvaluateResult,
    TrainResult,
    evaluate_round,
    round_generator,
    train_round,
)
from fl.core.vector import SHARED, NumpyVector, Vector, check_same
from fl.errors import ConfigError, ModelError
from fl.log import get_log
from fl.run.spec import RunSpec, compression_of, weights_compression_of
from fl.run.terms import Terms

log = get_log(__name__)

CURE: Final = (
    "use a smaller learning rate, clip gradients (module 'l2-global-clipping'), or scale features to a similar size"
)
"""What to do about a training that diverges."""

_TURN: Final = threading.Lock()
"""Held while a model trains that draws from a random generator of the whole process."""


@dataclass(frozen=True, slots=True)
class Data:
    """What a site learns from and is evaluated on."""

    train: Dataset
    valid: Dataset | None = None

    @property
    def held_out(self) -> Dataset:
        return self.train if self.valid is None else self.valid


@dataclass(frozen=True, slots=True)
class Shared:
    """What a run has in common: what all data have, and the model's tensors."""

    data_info: DataInfo
    layout: Layout
    """Of what travels in every round."""
    fixed: NumpyVector | None = None
    """Tensors that no round changes."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A round's work: the update is `w_start - w_end`, `aux` what the optimizer tells the server's."""

    update: NumpyVector
    aux: Mapping[str, Sum]
    result: TrainResult
    payload: memoryview | None = None
    """The update as it travels, with what is owed of earlier ones; None where nothing is compressed."""


class Learner:
    """Model, optimizer and metrics of one run. Raises `FluffleError` where they do not fit the data."""

    def __init__(
        self,
        spec: RunSpec,
        shared: Shared,
        data: Data,
        *,
        seed: bytes,
        run: str,
        device: DevicePolicy,
        states: RoundStates,
        noisy: NoisyEvaluations | None = None,
    ) -> None:
        """`seed`, `run` and the round's number are all that a round's randomness depends on.

        `noisy` says what evaluations tell; without it all, and no noise.
        """
        self._spec = spec
        self._data = data
        self._seed = seed
        self._run = run
        self._states = states
        self._noisy = noisy
        pays = spec.run.privacy is not None or noisy is not None
        self._task = task_digest(spec, shared.data_info, shared.fixed) if pays else ""
        self._model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
        self._model.initialize(shared.data_info)
        self._model.update_device_policy(device)
        self._take_in(shared)
        self._optimizer = Optimizer.from_config(spec.optim.client_opt)
        self.layout = shared.layout
        """Of the weights, in every round."""
        self.weights_compression = weights_compression_of(spec)
        """How they come, unless they come as they are."""
        self._feedback = Feedback(compression_of(spec))
        self._metrics = MetricSet.from_specs([(plugin.name, plugin.config) for plugin in spec.metrics])
        self._private: PrivateRun | None = None
        self._fresh = self._state()
        self._at: int | None = 0
        """The round after which the model's and optimizer's own state is; None: within one that did not end."""

    def settle_privacy(self, options: PrivacyOptions, policy: Policy, *, unprotected: tuple[str, ...]) -> Terms:
        """Train privately from here on; `unprotected` is what leaves the site without noise.

        Raises `ModelError` for a model that has no gradients of single samples, or whose rounds carry statistics of
        the data, `BudgetSpent` where the site does not
        allow it, `ConfigError` for other options than the spec's, and for a budget that no noise keeps to.
        """
        asked = self._spec.run.privacy
        if asked is None or asked.options != options:
            raise ConfigError("the run's leader asks for other privacy than the run's spec does")
        training = self._spec.run.training
        work = Work(
            run=self._run,
            task=self._task,
            seed=self._seed,
            dataset=self._data.train,
            batching=training.batching,
            effort=training.effort,
            rounds=self._spec.run.rounds,
        )
        _check_nothing_measured(self.layout)
        private = PrivateRun(options, policy, work)
        terms = private.terms(unprotected)
        self._model.check_separate()
        self._model.compute_batch_gradients(self._data.train.take(slice(0, 2)), options.sclip_norm)
        self._private = private
        if self._noisy is None:
            return terms
        hidden = tuple(map(untold, self._noisy.withheld(self._metrics)))
        return replace(terms, warnings=terms.warnings + hidden, metric_noise=self._noisy.telling.noise_multiplier)

    @property
    def batch_size(self) -> int:
        """Samples of a step, as the spec has it."""
        return self._spec.run.training.batch_size

    @property
    def compression(self) -> str:
        """The name of how updates travel."""
        return self._feedback.compression.name

    def train(
        self,
        round_: int,
        weights: NumpyVector,
        *,
        counted: int = 0,
        aux: Mapping[str, Sum] | None = None,
        in_place: bool = False,
    ) -> Trained:
        """One round, from the weights and from the own state after round `counted`.

        The same again gives the same bits. `aux` is what the server's optimizer tells. With `in_place` the update takes
        the place of the weights. Raises `ModelError` for an update that is not finite: nobody could use it, and the own
        state stays where it was.
        """
        options = self._spec.run.training
        with self._turn(), _unwarned():
            self._go_back(counted)
            self._at = None
            steps, rng = self._batches(round_, weights, counted, aux or {})
            self._load(weights)
            for name, values in (aux or {}).items():
                self._optimizer.process_aux_var({name: values.finish()})
            self._model.start_round(self._generator(round_, "model"))
            result = train_round(
                self._model,
                self._optimizer,
                self._data.train,
                effort=options.effort,
                batching=options.batching,
                rng=rng,
                clock=time.monotonic,
                round_=round_ - 1,
                private=steps,
            )
            if self._private is not None:
                result = replace(result, n_samples=self._private.samples_of(result.n_steps))
            told = self._optimizer.collect_aux_var()
            update = weights if in_place else weights.empty_like()
            np.subtract(weights.flat, self._weights_now(weights.layout).flat, out=update.flat)
            _check_finite(update, round_)
            payload = None if self._feedback.compression.lossless else self._feedback.compress(update)
            self._states.keep(round_, self._state(), counted=counted)
            self._at = round_
        return Trained(update, {name: _in_numpy(values) for name, values in told.items()}, result, payload)

    def evaluate(self, weights: NumpyVector, *, counted: int = 0, round_: int = 0) -> EvaluateResult:
        """Loss and metrics of `weights` on the held-out data; `NOTHING` where the site has noise to pay, and cannot.

        Raises `ModelError` for metrics that are not finite; a loss that is not is a result like others.
        """
        options = self._spec.run.evaluate
        self._go_back(counted)
        self._load(weights)
        private = None
        if self._noisy is not None:
            look = Look(round_, self._task, weights, self._model.get_state(), self._data.held_out)
            private = self._noisy.pay(look, self._model, self._metrics, private=self._private)
            if private is None:
                return NOTHING
        with _unwarned():
            result = evaluate_round(
                self._model,
                self._metrics,
                self._data.held_out,
                batching=Batching(options.batch_size, drop_remainder=options.drop_remainder),
                effort=Effort(1, options.n_steps, options.timeout),
                clock=time.monotonic,
                private=private,
            )
        _check_metrics(result)
        return result

    def _batches(
        self, round_: int, weights: NumpyVector, counted: int, aux: Mapping[str, Sum]
    ) -> tuple[PrivateSteps | None, np.random.Generator]:
        """What a round's batches are drawn from and, in a private run, the steps that are paid for."""
        if self._spec.run.privacy is None:
            return None, self._generator(round_, "batches")
        if self._private is None:
            raise ConfigError("this run is private, and nothing was settled about that before it was to train")
        return self._private.pay(Start(round_, counted, weights, self._state(), aux))

    def _weights_now(self, layout: Layout) -> NumpyVector:
        """What travels of the model's weights, to be read at once: the model's own where only parameters travel."""
        if layout.roles == (Role.TRAINABLE,):
            return self._model.trainable_view().to_numpy()
        return self._model.get_weights().select(*SHARED).to_numpy()

    def _generator(self, round_: int, purpose: str) -> Any:
        return round_generator(self._seed, run=self._run, round_=round_, purpose=purpose)

    def _turn(self) -> AbstractContextManager[Any]:
        return _TURN if self._model.shares_generator else nullcontext()

    def _state(self) -> dict[str, Any]:
        return {
            "optimizer": self._optimizer.get_state(),
            "model": self._model.get_state(),
            "feedback": self._feedback.get_state(),
        }

    def _go_back(self, counted: int) -> None:
        """Put the own state where it was after a round: a round may come again, or have come too late to count."""
        if counted == self._at:
            return
        state = self._states.after(counted) if counted else self._fresh
        if state is None:
            log.warning("state_lost", run=self._run, after_round=counted, instead="the optimizer starts afresh")
            state = self._fresh
        self._optimizer.set_state(state["optimizer"])
        self._model.set_state(state["model"])
        self._feedback.set_state(state["feedback"])
        self._at = counted

    def _take_in(self, shared: Shared) -> None:
        """Raises `ModelError` when this site's model is another than the run's."""
        try:
            check_same(shared.layout, self._model.get_weights().select(*SHARED).layout)
            if shared.fixed is not None:
                self._model.set_weights(shared.fixed)
        except ValueError as error:
            raise ModelError(f"the run's model is not what this site makes of its config: {error}") from None

    def _load(self, weights: NumpyVector) -> None:
        try:
            self._model.set_weights(weights)
        except ValueError as error:
            raise ModelError(f"the run's weights do not fit the model of this site: {error}") from None


def shared_seed(seed: int, client: str) -> bytes:
    """The seed of a client in a run whose spec fixes one: reproducible, and different for each client."""
    return hashlib.sha256(f"fluffle batches {seed} {client}".encode()).digest()


def _check_nothing_measured(layout: Layout) -> None:
    """Raises `ModelError` where tensors travel that a model fills with what it measures of its inputs."""
    name = next((spec.name for spec in layout.specs if spec.role is Role.BUFFER), None)
    if name is not None:
        raise ModelError(
            f"tensor {name!r} holds statistics of the data, and would leave this site without noise: keep them as they "
            'are (buffers="frozen"), or at each site (buffers="local"), or use a layer without them'
        )


def _unwarned() -> np.errstate:
    """Silences numpy about single numbers: results are looked at as a whole, and what is wrong is told in words."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _check_finite(update: NumpyVector, round_: int) -> None:
    name = update.first_nonfinite()
    if name is not None:
        raise ModelError(
            f"training of round {round_} diverged: tensor {name!r} has values that are NaN or infinite; {CURE}"
        )


def _check_metrics(result: EvaluateResult) -> None:
    key = next((key for key, state in result.metrics.items() if not np.isfinite(state).all()), None)
    if key is not None:
        raise ModelError(f"metric {key.partition('/')[0]!r} is NaN or infinite here: the weights have diverged; {CURE}")


def _in_numpy(values: Sum) -> Sum:
    return Sum({name: item.to_numpy() if isinstance(item, Vector) else item for name, item in values.fields.items()})
