"""What an open training round has taken in so far: the sum of updates, which grows while others still train."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from broker.base import Session
from broker.errors import Late
from broker.threads import in_thread
from fl.core.aggregator.blocks import fold_in_blocks
from fl.core.aggregator.weighted import PartwiseFold
from fl.core.layout import Layout, Role
from fl.core.optimizer import Optimizer
from fl.core.optimizer.aux import unpack_aux
from fl.core.vector import Array, TakeFloats, chunks
from fl.errors import BadMessage
from fl.run.events import ClientResult
from fl.run.spec import compression_of
from fl.run.state import RunState
from fl.server.fold import AuxFold, round_aggregator
from fl.wire.bulk import INLINE_BYTES, fetch, pour
from fl.wire.messages_pb2 import TrainReply


class Unusable(Exception):
    """An update that must not enter the sum: its bytes are gone, or not what was announced, or no numbers.

    In a stream they may have come to harm: whether they are then asked for `again`.
    """

    def __init__(self, client: str, reason: str, *, again: bool) -> None:
        self.client = client
        self.again = again
        super().__init__(reason)


class Intake:
    """The fold of one round, in the order of the clients' names: what it comes to does not depend on who came first.

    Each update is read once, straight into the sum. One that proves unusable on the way has spoilt the sum: a new
    intake reads the others again.
    """

    def __init__(self, session: Session, state: RunState, layout: Layout, *, asked: Iterable[str]) -> None:
        """`asked` are all whom the round, or the part of it that is summed here, may have updates of."""
        spec = state.spec
        self._session = session
        self._layout = layout
        self._is_bulk = compression_of(spec).nbytes(layout) > INLINE_BYTES
        """Whether updates come in streams, and replies are small."""
        self._server_opt = spec.optim.server_opt
        self._compression = compression_of(spec)
        asked = tuple(asked)
        self.fold = fold_in_blocks(round_aggregator(state), layout, asked)
        self.aux = AuxFold(asked)
        self.results: list[ClientResult] = []

    @property
    def clients(self) -> tuple[str, ...]:
        """Whose updates are in the sum."""
        return tuple(result.client for result in self.results)

    async def take(self, client: str, reply: object) -> None:
        """Add an update. Raises `Unusable`, after which the intake is of no use."""
        assert isinstance(reply, TrainReply), "what is held answers the open round"
        try:
            await self._take(client, reply)
        except Late as error:
            raise Unusable(client, f"its update does not come: {error}", again=True) from error

    async def _take(self, client: str, reply: TrainReply) -> None:
        result = ClientResult(client, reply.n_steps, reply.n_samples, reply.seconds)
        try:
            norm = await self._take_update(result, reply)
        except BadMessage as error:
            raise self._unusable(client, f"its update is not usable: {error}") from None
        if reply.HasField("aux"):
            await self._take_aux(client, reply)
        self.results.append(replace(result, update_norm=norm))

    async def _take_update(self, one: ClientResult, reply: TrainReply) -> float:
        """Euclidean length of what is trained."""
        if isinstance(self.fold, PartwiseFold):
            take = self.fold.open(client=one.client, n_steps=one.n_steps, n_samples=one.n_samples)
            seen = Inspection(self._layout, take)
            await pour(self._session, reply.update, seen.take, self._compression)
            return seen.norm
        update, seen = await fetch(self._session, reply.update, self._compression), Inspection(self._layout)
        await in_thread(seen.take, 0, update.flat)

        def add() -> None:
            self.fold.add(update, client=one.client, n_steps=one.n_steps, n_samples=one.n_samples)

        await in_thread(add)
        return seen.norm

    async def _take_aux(self, client: str, reply: TrainReply) -> None:
        """The server's modules say what they take: they are asked on a copy that is thrown away."""
        trainable = self._layout.select(Role.TRAINABLE)
        try:
            packed = await fetch(self._session, reply.aux)
            await in_thread(Inspection(packed.layout).take, 0, packed.flat)
            told = await in_thread(unpack_aux, packed, trainable)
            asked = Optimizer.from_config(self._server_opt)
            await in_thread(asked.process_aux_var, {module: one.finish() for module, one in told.items()})
        except (BadMessage, ValueError) as error:
            raise self._unusable(client, f"what its optimizer sent is not usable: {error}") from None
        await in_thread(self.aux.add, client, told)

    def _unusable(self, client: str, reason: str) -> Unusable:
        return Unusable(client, reason, again=self._is_bulk)


class Inspection:
    """Passes the floats of an update on, and looks at them on the way."""

    def __init__(self, layout: Layout, take: TakeFloats = lambda _start, _values: None) -> None:
        self._layout = layout
        self._n_trained = layout.select(Role.TRAINABLE).float_size
        self._take = take
        self._squares = 0.0

    def take(self, start: int, values: Array) -> None:
        """Raises `BadMessage` for what is no number."""
        finite = np.isfinite(values)
        if not finite.all():
            name = name_at(self._layout, start + int(finite.argmin()))
            raise BadMessage(f"tensor {name!r} has values that are NaN or infinite")
        self._take(start, values)
        trained = values[: max(0, self._n_trained - start)]
        for part in chunks(len(trained)):  # as `NumpyVector.dot` does it
            self._squares += float(np.multiply(trained[part], trained[part], dtype=np.float64).sum())

    @property
    def norm(self) -> float:
        """Euclidean length of the trainable tensors that have been passed on."""
        return math.sqrt(self._squares)


def name_at(layout: Layout, index: int) -> str:
    """The tensor that has the float of this index."""
    for spec in layout.float_specs:
        if index < spec.size:
            return spec.name
        index -= spec.size
    raise IndexError(f"these tensors have {layout.float_size} floats")
