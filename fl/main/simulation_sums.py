"""The arithmetic of a simulation's rounds: updates, which are in memory already, become the next weights."""

from collections.abc import Iterable, Mapping

from fl.client.learner import Trained
from fl.core.aggregator.blocks import fold_in_blocks
from fl.core.layout import Layout, Role
from fl.core.mergeable import Sum
from fl.core.optimizer import Optimizer
from fl.core.optimizer.aux import pack_aux, unpack_aux
from fl.core.training import EvaluateResult
from fl.core.vector import NumpyVector
from fl.run.events import ClientResult
from fl.run.spec import compression_of
from fl.run.state import RunState
from fl.server.fold import NOBODY_TRAINED, AuxFold, finite, protect, round_aggregator, updated
from fl.wire.messages_pb2 import EvaluateReply
from fl.wire.tensors import inline


class TrainingSum:
    """The open training round: what has come of it is added up in the order of the clients' names."""

    def __init__(self, state: RunState, layout: Layout, *, asked: Iterable[str], in_order: bool) -> None:
        """`in_order`: clients come in the order of their names; else what they send is held until the end."""
        asked = tuple(asked)
        self._fold = fold_in_blocks(round_aggregator(state), layout, asked)
        self._compression = compression_of(state.spec)
        self._trainable = layout.select(Role.TRAINABLE)
        self._in_order = in_order
        self._held: dict[str, Trained] = {}
        self._aux = AuxFold(asked)
        self.results: list[ClientResult] = []
        """Of those whose updates are in the sum."""

    def take(self, client: str, trained: Trained) -> None:
        """Raises `RunFailed` where the clients' optimizers tell what does not go together."""
        if self._in_order:
            self._add(client, trained)
        else:
            self._held[client] = trained

    def protect(self, state: RunState) -> float | None:
        """Add noise where there is to be some, once all have come; returns the clip norm of the next round likewise."""
        self._add_held()
        return protect(state, self._fold)

    def weights_after(self, weights: NumpyVector, optimizer: Optimizer, *, round_: int) -> tuple[NumpyVector, str]:
        """The next weights, and a note where there is something to tell. Raises `RunFailed` for what is no number."""
        self._add_held()
        update = self._fold.finish()
        if update is None:
            return weights, NOBODY_TRAINED
        return finite(updated(weights, update, optimizer, aux=self._aux.total(), round_=round_), round_), ""

    def _add_held(self) -> None:
        for client in sorted(self._held):
            self._add(client, self._held.pop(client))

    def _add(self, client: str, trained: Trained) -> None:
        done, update = trained.result, trained.update
        if trained.payload is not None:
            update = self._compression.decode(update.layout, trained.payload)
        self._fold.add(update, client=client, n_steps=done.n_steps, n_samples=done.n_samples)
        if trained.aux:
            self._add_aux(client, trained.aux)
        norm = NumpyVector(self._trainable, update.flat[: self._trainable.float_size]).norm()
        self.results.append(ClientResult(client, done.n_steps, done.n_samples, done.seconds, update_norm=norm))

    def _add_aux(self, client: str, told: Mapping[str, Sum]) -> None:
        packed = pack_aux(told)
        assert packed is not None, "somebody tells something"
        self._aux.add(client, unpack_aux(packed, self._trainable))


def as_received(aux: NumpyVector, layout: Layout) -> dict[str, Sum]:
    """What the server's optimizer tells the clients', whose weights have this layout."""
    return unpack_aux(aux, layout.select(Role.TRAINABLE))


def reply_of(result: EvaluateResult, *, share_metrics: bool) -> EvaluateReply:
    """An evaluation as a client sends it."""
    reply = EvaluateReply(
        loss_sum=result.loss_sum, weight_sum=result.weight_sum, n_samples=result.n_samples, seconds=result.seconds
    )
    if share_metrics:
        reply.metrics.CopyFrom(inline(NumpyVector.from_arrays(result.metrics)))
    return reply
