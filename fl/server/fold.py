"""The arithmetic of a commit: replies of a round, in client order, become the next weights or the global loss.

Nothing here depends on when or how often a reply arrived, or on who folds: the same replies give the same bits.
"""

import hmac
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fl.core.aggregator import Aggregator, Fold
from fl.core.aggregator.blocks import blocks
from fl.core.aggregator.private import PrivateAveraging, PrivateSum
from fl.core.aggregator.weighted import PartwiseFold
from fl.core.compression import Compression
from fl.core.layout import Layout
from fl.core.mergeable import PartwiseSum, Sum
from fl.core.metrics import MetricSet
from fl.core.optimizer import Optimizer
from fl.core.privacy.noise import hashed_source
from fl.core.vector import Array, NumpyVector, Role, chunks
from fl.errors import RunFailed
from fl.run.events import ClientResult, MetricValue
from fl.run.releases import privacy_of_sum
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.wire.messages_pb2 import EvaluateReply
from fl.wire.tensors import read_inline

NOBODY_TRAINED = "no client took a step that counts: the weights stay as they were"


def aggregator_of(spec: RunSpec) -> Aggregator:
    plugin = spec.optim.aggregator
    return Aggregator.registry.get(plugin.name).from_config(plugin.config)


def round_aggregator(state: RunState) -> Aggregator:
    """Of the open training round: that of the spec, or one that clips for noise."""
    privacy = privacy_of_sum(state)
    return aggregator_of(state.spec) if privacy is None else PrivateAveraging(privacy)


def protect(state: RunState, fold: Fold) -> float | None:
    """Add noise to the sum of the open round, where it is to have some, in place: once, when all updates are in it.

    It comes from a key of the run's secret and of the sum itself: the same sum again tells nothing more, and no two
    others share their noise. Returns the clip norm of the next round, where it follows the norms of updates.
    """
    if privacy_of_sum(state) is None:
        return None
    total = fold.sum() if isinstance(fold, PartwiseFold) else None
    assert isinstance(total, PrivateSum), "the aggregator of such a round makes such sums"
    place = f"noise of {state.run} round {state.trained + 1} ".encode()
    total.add_noise(hashed_source(hmac.digest(state.secret, place + total.digest(), "sha256")))
    return total.next_clip_norm() if total.privacy.adaptive is not None else None


def metrics_of(spec: RunSpec) -> MetricSet:
    return MetricSet.from_specs([(plugin.name, plugin.config) for plugin in spec.metrics])


def updated(
    weights: NumpyVector, update: NumpyVector, optimizer: Optimizer, *, aux: Mapping[str, Sum], round_: int
) -> NumpyVector:
    """The weights after a round; `aux` is what the clients' optimizers have sent, added up."""
    new = weights - update  # of buffers the mean over the clients; the optimizer is for what is trained
    trainable = weights.select(Role.TRAINABLE)
    optimizer.start_round(trainable, round_ - 1)
    for name, values in aux.items():
        optimizer.process_aux_var({name: values.finish()})
    steps = optimizer.compute_updates(trainable, update.select(Role.TRAINABLE))
    new.select(Role.TRAINABLE).flat[...] = (trainable - steps).flat
    return new


class Descent:
    """The weights after a round whose optimizer only scales, part by part, to the bits that `updated` gives.

    They are written over the sum of the updates, each part once that of the sum is used up: so that beside the sum
    no other vector is in memory.
    """

    def __init__(self, total: PartwiseSum, layout: Layout, *, rate: float) -> None:
        self._total = total
        self._layout = layout
        self._n_trained = layout.select(Role.TRAINABLE).float_size
        self._rate = rate
        self._flat = total.total.flat.view(layout.float_dtype)[: layout.float_size]

    def take(self, start: int, weights: Array) -> None:
        """The next part of the weights before the round."""
        for part in chunks(len(weights)):
            here = slice(start + part.start, start + part.stop)
            step = self._total.at(here).astype(self._flat.dtype)
            step[: max(0, self._n_trained - here.start)] *= self._rate
            np.subtract(weights[part], step, out=self._flat[here])

    def weights(self, others: tuple[Array, ...]) -> NumpyVector:
        """All of them, once all parts were taken; `others` are their tensors that no arithmetic changes."""
        return NumpyVector(self._layout, self._flat, others)


def finite(weights: NumpyVector, round_: int) -> NumpyVector:
    """The weights after a round. Raises `RunFailed` where they are no numbers."""
    name = weights.first_nonfinite()
    if name is not None:
        raise RunFailed(
            f"round {round_} diverged: the sum of the clients' updates, each of them finite, leaves tensor {name!r} "
            "with values that are NaN or infinite: use smaller learning rates, or an aggregator such as trimmed-mean "
            "that leaves out what is far from the others"
        )
    return weights


def beyond(weights: NumpyVector, compression: Compression) -> str:
    """Why these weights cannot be sent compressed, in words; empty where they can.

    They then go as they are, for this round: what the compression made of them would be other weights.
    """
    name = compression.first_beyond(weights)
    if name is None:
        return ""
    return (
        f"weights travel uncompressed: tensor {name!r} has values beyond {compression.largest:g}, the largest that "
        f"{compression.name} carries"
    )


class AuxFold:
    """What the clients' optimizers have sent, added up in the shape that the sum of their updates has."""

    def __init__(self, asked: Iterable[str]) -> None:
        self._block_of = {client: number for number, block in enumerate(blocks(asked)) for client in block}
        self._before: dict[str, Sum] = {}
        self._block: dict[str, Sum] = {}
        self._number = 0

    def add(self, client: str, told: Mapping[str, Sum]) -> None:
        """Take one more client's, in the order of their names. Raises `RunFailed` where fields differ."""
        number = self._block_of[client]
        if number != self._number:
            self._before, self._block, self._number = self.total(of=client), {}, number
        self._block = merged(self._block, told, of=client)

    def total(self, *, of: str = "the last block") -> dict[str, Sum]:
        return merged(self._before, self._block, of=of)


def merged(total: Mapping[str, Sum], part: Mapping[str, Sum], *, of: str) -> dict[str, Sum]:
    """What optimizers have sent, with what that of one more client, or block, has. Raises `RunFailed` likewise."""
    try:
        return {**total, **{name: total[name].merge(one) if name in total else one for name, one in part.items()}}
    except ValueError as error:
        raise RunFailed(f"what the clients' optimizers sent does not go together: {of}: {error}") from None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation round says over all clients."""

    loss: float
    metrics: tuple[MetricValue, ...]
    results: tuple[ClientResult, ...]


class EvaluationSum:
    """Σ sample losses / Σ weights over all clients, and the metrics on the union of those who share theirs."""

    def __init__(self, spec: RunSpec) -> None:
        self._loss_sum = self._weight_sum = 0.0
        self._metrics = metrics_of(spec)
        self._results: list[ClientResult] = []

    def add(self, replies: Iterable[tuple[str, EvaluateReply]]) -> None:
        """Take those of more clients, in the order of their names."""
        for client, reply in replies:
            self._loss_sum += reply.loss_sum
            self._weight_sum += reply.weight_sum
            if reply.HasField("metrics"):
                self._metrics.merge(read_inline(reply.metrics).arrays())
            loss = _ratio(reply.loss_sum, reply.weight_sum)
            self._results.append(ClientResult(client, n_samples=reply.n_samples, seconds=reply.seconds, loss=loss))

    def result(self) -> Evaluation:
        values = tuple(_value(name, np.asarray(value)) for name, value in self._metrics.result().items())
        return Evaluation(_ratio(self._loss_sum, self._weight_sum), values, tuple(self._results))


def _value(name: str, value: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> MetricValue:
    return MetricValue(name, tuple(value.astype(float).ravel().tolist()), value.shape)


def _ratio(total: float, weight: float) -> float:
    return total / weight if weight else math.nan
