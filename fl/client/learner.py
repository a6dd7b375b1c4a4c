"""One client's part of a run, over its own data: no messages, no event loop."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from fl.core.data_info import DataInfo
from fl.core.dataset import Dataset
from fl.core.device import DevicePolicy
from fl.core.metrics import MetricSet
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.training import (
    Batching,
    Effort,
    EvaluateResult,
    TrainResult,
    evaluate_round,
    round_generator,
    train_round,
)
from fl.core.vector import NumpyVector
from fl.errors import ModelError
from fl.run.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Data:
    """What a site learns from and is evaluated on."""

    train: Dataset
    valid: Dataset | None = None

    @property
    def held_out(self) -> Dataset:
        return self.train if self.valid is None else self.valid


class Learner:
    """Model, optimizer and metrics of one run. Raises `FluffleError` where they do not fit the data."""

    def __init__(
        self, spec: RunSpec, data_info: DataInfo, data: Data, *, seed: bytes, run: str, device: DevicePolicy
    ) -> None:
        """`seed`, `run` and the round's number are all that batches depend on."""
        self._spec = spec
        self._data = data
        self._seed = seed
        self._run = run
        self._before: tuple[int, dict[str, Any]] | None = None
        self._model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
        self._model.initialize(data_info)
        self._model.update_device_policy(device)
        self._optimizer = Optimizer.from_config(spec.optim.client_opt)
        self._metrics = MetricSet.from_specs([(plugin.name, plugin.config) for plugin in spec.metrics])

    def train(self, round_: int, weights: NumpyVector) -> tuple[NumpyVector, TrainResult]:
        """The update, `w_start - w_end`, of one round. The same round from the same weights gives the same bits."""
        self._load(weights)
        self._rewind(round_)
        options = self._spec.run.training
        result = train_round(
            self._model,
            self._optimizer,
            self._data.train,
            effort=Effort(options.n_epoch, options.n_steps, options.timeout),
            batching=Batching(
                options.batch_size,
                shuffle=options.shuffle,
                drop_remainder=options.drop_remainder,
                poisson=options.poisson,
                replacement=options.replacement,
            ),
            rng=round_generator(self._seed, run=self._run, round_=round_),
            clock=time.monotonic,
        )
        return weights - self._model.get_weights(trainable=True).to_numpy(), result

    def evaluate(self, weights: NumpyVector) -> EvaluateResult:
        """Loss and metrics of `weights` on the held-out data."""
        self._load(weights)
        options = self._spec.run.evaluate
        return evaluate_round(
            self._model,
            self._metrics,
            self._data.held_out,
            batching=Batching(options.batch_size, drop_remainder=options.drop_remainder),
            effort=Effort(1, options.n_steps, options.timeout),
            clock=time.monotonic,
        )

    def _rewind(self, round_: int) -> None:
        """Put the optimizer where it was before this round, should the round be done again."""
        if self._before is not None and self._before[0] == round_:
            self._optimizer.set_state(self._before[1])
        self._before = (round_, self._optimizer.get_state())

    def _load(self, weights: NumpyVector) -> None:
        try:
            self._model.set_weights(weights, trainable=True)
        except ValueError as error:
            raise ModelError(f"the run's weights do not fit the model of this site: {error}") from None


def shared_seed(seed: int, client: str) -> bytes:
    """The seed of a client in a run whose spec fixes one: reproducible, and different for each client."""
    return hashlib.sha256(f"fluffle batches {seed} {client}".encode()).digest()
