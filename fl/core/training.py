"""What a client does in a round: training steps, or an evaluation."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from fl.core.dataset import Batch, Batching, Dataset
from fl.core.metrics import MetricSet
from fl.core.metrics.api import State
from fl.core.metrics.mean import Loss
from fl.core.model.api import Model
from fl.core.optimizer import Optimizer
from fl.core.privacy.evaluation import COUNT, TOTAL, WEIGHT, PrivateEvaluation
from fl.core.privacy.private import PrivateSteps
from fl.errors import ConfigError, DataError

__all__ = ["Batching", "Effort", "EvaluateResult", "TrainResult", "evaluate_round", "round_generator", "train_round"]

Clock = Callable[[], float]
"""Seconds, by a clock that never goes back."""

EVALUATION: Final = Batching(128, drop_remainder=False)
"""Every sample once, in order."""


@dataclass(frozen=True, slots=True)
class Effort:
    """When to stop: at the first limit reached, looked at after each step, so that there is always one.

    0 or None is no limit. Raises `ConfigError` when nothing limits.
    """

    n_epoch: int | None = 1
    n_steps: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        limits = (self.n_epoch, self.n_steps, self.timeout_s)
        if not any(limits):
            raise ConfigError("a round would never end: set one of n_epoch, n_steps or timeout_s")
        if any(limit is not None and limit < 0 for limit in limits):
            raise ConfigError(f"n_epoch, n_steps and timeout_s are {limits}: use numbers above 0, or None for no limit")

    def most_steps(self, n_batches: int) -> int:
        """Steps of a round with so many batches an epoch, however quick.

        Raises `ConfigError` where only time ends it.
        """
        limits = [limit for limit in (self.n_steps, self.n_epoch and self.n_epoch * n_batches) if limit]
        if not limits:
            raise ConfigError(
                "nobody can tell how many steps a round has that only timeout_s ends: set n_steps or n_epoch"
            )
        return min(limits)

    def is_spent(self, *, n_epoch: int, n_steps: int, seconds: float) -> bool:
        done = ((self.n_epoch, n_epoch), (self.n_steps, n_steps), (self.timeout_s, seconds))
        return any(limit and value >= limit for limit, value in done)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What was done; `n_samples` counts repeats, and `n_epoch` only epochs that came to their end."""

    n_steps: int
    n_samples: int
    n_epoch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What was measured: sums, to be added to those of other clients."""

    loss_sum: float
    """Σ over samples of weight x loss."""
    weight_sum: float
    n_samples: int
    metrics: State
    seconds: float


def train_round(
    model: Model,
    optimizer: Optimizer,
    dataset: Dataset,
    *,
    effort: Effort,
    batching: Batching,
    rng: np.random.Generator,
    clock: Clock,
    round_: int | None = None,
    sclip: float | None = None,
    private: PrivateSteps | None = None,
) -> TrainResult:
    """Train `model` in place from the weights it has, which are the start of the optimizer's round.

    `round_` is the place of this round in the run, counting from 0; without it, in what the optimizer has begun.
    `private` steps go before `sclip` and the ways of `batching`, and there are no more of them than are paid for.
    Raises `DataError` for data that gives no batch, or does not fit the model; `ConfigError` for private steps that
    were paid for by another sampling rate.
    """
    if private is not None:
        batching = private.batching(batching, dataset.n_samples)
    optimizer.start_round(model.get_weights(trainable=True), round_)
    start, n_steps, n_samples, n_epoch = clock(), 0, 0, 0
    for batch, is_last in _endless(dataset, batching, rng):
        if private is None:
            optimizer.run_train_step(model, batch, sclip)
        else:
            private.run_train_step(optimizer, model, batch, n_samples=dataset.n_samples)
        n_steps, n_samples, n_epoch = n_steps + 1, n_samples + batch.n_samples, n_epoch + is_last
        if private is not None and n_steps == private.paid.steps:
            break
        if effort.is_spent(n_epoch=n_epoch, n_steps=n_steps, seconds=clock() - start):
            break
    return TrainResult(n_steps, n_samples, n_epoch, clock() - start)


def evaluate_round(
    model: Model,
    metrics: MetricSet,
    dataset: Dataset,
    *,
    clock: Clock,
    batching: Batching = EVALUATION,
    effort: Effort | None = None,
    private: PrivateEvaluation | None = None,
) -> EvaluateResult:
    """Measure `model` on each sample once, in order, or until the effort is spent. `metrics` is reset first.

    A `private` one looks at every sample, whatever the effort, and tells what it does with noise.
    Raises `ConfigError` for a batching that draws samples at random, `DataError` for data that does not fit.
    """
    if batching.shuffle or batching.poisson or batching.replacement:
        raise ConfigError("evaluation looks at each sample once and in order: leave shuffle, poisson, replacement out")
    effort = effort or Effort()
    if private is not None:
        batching, effort = private.batching(batching), Effort()
    metrics.reset()
    loss = Loss()
    start = clock()
    in_order = dataset.generate_batches(**batching.options(), rng=np.random.default_rng(0))
    for n_steps, batch in enumerate(in_order, start=1):
        raw = model.forward(batch)
        losses = model.loss_function(batch.y, raw)  # a missing target is the model's to refuse
        weights = batch.weights
        if private is not None:
            losses, weights = private.clip(losses, weights)
        metrics.update(batch.y, model.to_predictions(raw), weights, losses=losses)
        loss.update(batch.y, losses, weights)
        if effort.is_spent(n_epoch=0, n_steps=n_steps, seconds=clock() - start):
            break
    state = loss.get_state()
    sums = {COUNT: state["n"], TOTAL: state["total"], WEIGHT: state["weight"], **metrics.get_state()}
    if private is not None:
        sums = private.tell(sums)
    return EvaluateResult(
        loss_sum=float(sums[TOTAL]),
        weight_sum=float(sums[WEIGHT]),
        n_samples=int(sums[COUNT]),
        metrics={key: sums[key] for key in metrics.get_state()},
        seconds=clock() - start,
    )


def round_generator(seed: bytes, *, run: str, round_: int, purpose: str = "batches") -> np.random.Generator:
    """The randomness of one purpose in one client's round: the same again when the round is done again.

    Seeded with SHA-256 over the client's secret seed and the rest, each with its length before it, so that no two
    rounds, runs or purposes share a stream.
    """
    parts = (seed, run.encode(), str(round_).encode(), purpose.encode())
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def _endless(dataset: Dataset, batching: Batching, rng: np.random.Generator) -> Iterator[tuple[Batch, bool]]:
    """Batches of one epoch after the other, each with whether it is its epoch's last."""
    while True:
        batches = dataset.generate_batches(**batching.options(), rng=rng)
        batch = next(batches, None)
        if batch is None:
            raise DataError(f"dataset {dataset.name!r} gave an epoch without a batch, so there is nothing to train on")
        for following in batches:
            yield batch, False
            batch = following
        yield batch, True
