"""What takes arithmetic in a run: the first weights, the sum of a round, the next weights.

Whatever touches a whole vector, or is a part of somebody else's, is done in a thread: the event loop is that of all
runs of this worker, and of its heartbeats.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from broker.base import Session
from broker.blob import BlobRef
from broker.quota import read_quota
from broker.threads import in_thread
from fl.core.aggregator.blocks import blocks
from fl.core.aggregator.weighted import PartwiseFold
from fl.core.layout import Layout
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.optimizer.aux import pack_aux
from fl.core.requires import missing
from fl.core.state import pack_state, unpack_state
from fl.core.vector import Array, NumpyVector, TakeFloats
from fl.errors import BadMessage, FluffleError, RunFailed
from fl.run.asking import asked_next
from fl.run.central_rules import unprotected
from fl.run.commands import CompleteWeights, Fold
from fl.run.events import Folded, Parcel, StartFailed, WeightsCompleted
from fl.run.footprint import footprint
from fl.run.spec import weights_compression_of
from fl.run.state import OpenRound, RunState
from fl.server.fold import NOBODY_TRAINED, Descent, EvaluationSum, beyond, finite, protect, updated
from fl.server.intake import Intake
from fl.server.letters import said_in
from fl.server.mail import Mail
from fl.server.shelf import Shelf
from fl.server.spool import Spooled
from fl.server.sums import RoundSum, RunningSum
from fl.wire.bulk import Announce, fetch, pour, tell_nobody
from fl.wire.messages_pb2 import EvaluateReply, TrainReply
from fl.wire.tensors import open_parcel, read_layout

KEPT_BYTES: Final = 16 * 2**20
"""Weights of up to so many bytes are kept for the next round by the leader that has made them: to read 10 MB back takes
as long as a tenth of a round. Of larger ones a leader holds the sum alone."""


class Workbench:
    """Works for one leader of one run; holds nothing large but the sum of the round that is open."""

    def __init__(self, session: Session, shelf: Shelf, mail: Mail) -> None:
        self._session = session
        self._shelf = shelf
        self._mail = mail
        self._intake: Intake | None = None
        self._of: OpenRound | None = None
        """The round of the intake."""
        self._last: tuple[bytes, NumpyVector] | None = None
        """The weights that were made last, and their digest."""
        self._readers: set[str] = set()
        """Clients in the intake that read weights while these are being written."""

    # ---- before the rounds -----------------------------------------------------------------------------------------

    async def complete(self, state: RunState, command: CompleteWeights) -> WeightsCompleted | StartFailed:
        """The weights that were submitted, or those that the model's kind makes of the data info.

        Nothing is written of a run that would take more of the broker than it may.
        """
        model = state.spec.model
        lacking = missing(state.spec.requires)
        if lacking is not None:
            return StartFailed(f"the worker that leads it cannot: {lacking}")
        made = None
        try:
            aux = await in_thread(_told_by, Optimizer.from_config(state.spec.optim.server_opt))
            if state.weights is None:
                kind = Model.registry.get(model.kind)
                made = await in_thread(kind.initial_weights, model.config, command.data_info)
        except FluffleError as error:
            return StartFailed(f"{error}{_untold(state)}")
        if state.weights is None and made is None:
            return StartFailed(f"a model of kind {model.kind!r} needs initial weights: submit the run with them")
        why_not = self._unprotected(state, made) or await self._excess(state, made)
        if why_not is not None:
            return StartFailed(why_not)
        told = await self._shelf.put_aux(aux, 0)
        weights = state.weights if made is None else await self._shelf.put_weights(made, 0)
        assert weights is not None, "made, where none were submitted"
        return WeightsCompleted(command.data_info, weights, told, await self._sent_first(state, weights, made))

    def _unprotected(self, state: RunState, made: NumpyVector | None) -> str | None:
        """Why these weights cannot be trained with the privacy that was asked for; None if they can."""
        if state.spec.run.central_privacy is None:
            return None
        return unprotected(made.layout if made is not None else _layout_of(state.weights))

    async def _excess(self, state: RunState, made: NumpyVector | None) -> str | None:
        """Why the run takes more of the broker than it may; None if it does not."""
        layout = made.layout if made is not None else _layout_of(state.weights)
        fixed = 0 if state.fixed is None else _layout_of(state.fixed).nbytes
        takes = footprint(state.spec, layout, fixed=fixed, n_clients=len(state.clients))
        return takes.excess(await read_quota(self._session))

    # ---- training --------------------------------------------------------------------------------------------------

    async def take_in(self, state: RunState, replies: Mapping[str, Spooled]) -> None:
        """Add those updates to the sum whose turn has come: before them nobody is awaited any more.

        Raises `Unusable`, and the sum is begun anew then.
        """
        ready, awaiting = [], state.awaiting
        for client in sorted(state.open.opened.participants if state.open is not None else ()):
            if client in awaiting:
                break
            if client in state.seen.done:
                ready.append(client)
        await self._take(state, tuple(ready), replies)

    async def fold_training(self, state: RunState, command: Fold, replies: Mapping[str, Spooled]) -> Folded:
        """The next weights. Raises as `take_in` does, and `RunFailed`."""
        intake = await self._take(state, command.clients, replies)
        self._intake = None
        total = RoundSum(intake.fold, await in_thread(intake.aux.total), tuple(intake.results))
        return await self._next(state, total, command.round, self._herald(state, command.round))

    async def fold_sums(self, state: RunState, command: Fold, sums: Mapping[int, Spooled]) -> Folded:
        """The next weights, of what shards have summed. Raises `SumLost`, and `RunFailed`."""
        assert state.weights is not None, "a round starts from weights"
        layout = read_layout(open_parcel(state.weights).layout)
        total = await in_thread(RunningSum, self._session, state, layout)
        for block in sorted(state.seen.summed):
            await total.take(block, await said_in(sums[block]))
        return await self._next(state, total.whole, command.round, tell_nobody)

    async def _next(self, state: RunState, total: RoundSum, round_: int, announce: Announce) -> Folded:
        """What a round comes to, safe at the broker; `announce` is for the weights that clients get."""
        optimizer = await self._optimizer(state)
        clip_norm = await in_thread(protect, state, total.fold)
        weights, note = await self._next_weights(state, total, optimizer, round_)
        as_they_are = weights_compression_of(state.spec).lossless
        known = await self._shelf.put_weights(weights, round_, announce if as_they_are else tell_nobody)
        await self._keep(known, weights)
        sent, why_not = await self._sent(state, weights, round_, announce)
        return Folded(
            total.results,
            weights=known,
            sent_weights=sent,
            server_state=await self._shelf.put_state(await in_thread(_state_of, optimizer), round_),
            aux=await self._shelf.put_aux(await in_thread(_told_by, optimizer), round_),
            note="; ".join(filter(None, (note, why_not))),
            clip_norm=clip_norm,
        )

    def _herald(self, state: RunState, round_: int) -> Announce:
        """Tells those of the clients that read ahead, and are asked next, of what is being written for them."""
        told = sorted(self._readers.intersection(asked_next(state, round_)))

        async def announce(ref: BlobRef) -> None:
            await self._mail.tell_ahead(state, told, round_=round_, weights=ref)

        return announce

    async def _sent(
        self, state: RunState, weights: NumpyVector, round_: int, announce: Announce = tell_nobody
    ) -> tuple[Parcel | None, str]:
        """The weights as clients get them, None where that is as they are, and why it is, where it should not be."""
        compression = weights_compression_of(state.spec)
        if compression.lossless:
            return None, ""
        why_not = await in_thread(beyond, weights, compression)
        if why_not:
            return None, why_not
        return await self._shelf.put_sent(weights, round_, compression, announce=announce), ""

    async def _sent_first(self, state: RunState, weights: Parcel, made: NumpyVector | None) -> Parcel | None:
        """The first weights likewise; those that were submitted are read for it."""
        if weights_compression_of(state.spec).lossless:
            return None
        try:
            first = made if made is not None else await fetch(self._session, open_parcel(weights))
        except BadMessage as error:
            raise _unreadable(state, error) from None
        return (await self._sent(state, first, 0))[0]

    async def _take(self, state: RunState, clients: tuple[str, ...], replies: Mapping[str, Spooled]) -> Intake:
        """The sum of these clients' updates, in their order; what it has of them already is not read again."""
        assert state.weights is not None, "a round starts from weights"
        intake, self._intake = self._intake, None
        if intake is None or self._of is not state.open or clients[: len(intake.clients)] != intake.clients:
            layout = read_layout(open_parcel(state.weights).layout)
            asked = state.open.opened.participants if state.open is not None else ()
            intake = await in_thread(partial(Intake, self._session, state, layout, asked=asked))
            self._of, self._readers = state.open, set()
        for client in clients[len(intake.clients) :]:
            reply = await said_in(replies[client])
            await intake.take(client, reply)
            if isinstance(reply, TrainReply) and reply.reads_ahead:
                self._readers.add(client)
        self._intake = intake
        return intake

    async def _optimizer(self, state: RunState) -> Optimizer:
        optimizer = Optimizer.from_config(state.spec.optim.server_opt)
        if state.server_state is not None:
            try:
                packed = await fetch(self._session, open_parcel(state.server_state))
                await in_thread(lambda: optimizer.set_state(unpack_state(packed)))
            except (BadMessage, ValueError) as error:
                raise _unreadable(state, error) from None
        return optimizer

    async def _next_weights(
        self, state: RunState, sum_: RoundSum, optimizer: Optimizer, round_: int
    ) -> tuple[NumpyVector, str]:
        """And a note where there is something to tell. Part by part where the arithmetic allows it."""
        assert state.weights is not None, "a round starts from weights"
        before = open_parcel(state.weights)
        try:
            total = await in_thread(sum_.fold.sum) if isinstance(sum_.fold, PartwiseFold) else None
            if total is not None and total.weight and optimizer.only_scales:
                optimizer.start_round(None, round_ - 1)
                descent = Descent(total, read_layout(before.layout), rate=optimizer.take_rate())
                others = await self._read(state.weights, descent.take)
                return await in_thread(finite, descent.weights(others), round_), ""
            kept = self._kept(state.weights)
            weights = await fetch(self._session, before) if kept is None else kept
        except BadMessage as error:
            raise _unreadable(state, error) from None
        update = await in_thread(sum_.fold.finish)
        if update is None:
            return weights, NOBODY_TRAINED
        new = await in_thread(lambda: updated(weights, update, optimizer, aux=sum_.aux, round_=round_))
        return await in_thread(finite, new, round_), ""

    async def _keep(self, known: Parcel, weights: NumpyVector) -> None:
        """Keep a copy of weights that are not too large: their own memory may be that of a sum."""
        small = weights.layout.nbytes <= KEPT_BYTES
        self._last = (known.digest, await in_thread(weights.copy)) if small else None

    def _kept(self, known: Parcel) -> NumpyVector | None:
        return self._last[1] if self._last is not None and self._last[0] == known.digest else None

    async def _read(self, known: Parcel, take: TakeFloats) -> tuple[Array, ...]:
        """Hand the weights' floats to `take`, part by part, and return their other tensors. Raises `BadMessage`."""
        kept = self._kept(known)
        if kept is None:
            return await pour(self._session, open_parcel(known), take)
        await in_thread(take, 0, kept.flat)
        return kept.others

    # ---- evaluation ------------------------------------------------------------------------------------------------

    async def fold_evaluation(self, state: RunState, command: Fold, replies: Mapping[str, Spooled]) -> Folded:
        total = await in_thread(EvaluationSum, state.spec)
        for some in blocks(command.clients):  # not all of them in memory at a time, nor a thread for each
            await in_thread(total.add, [(client, await _evaluation(replies[client])) for client in some])
        result = await in_thread(total.result)
        return Folded(result.results, loss=result.loss, metrics=result.metrics)


async def _evaluation(held: Spooled) -> EvaluateReply:
    reply = await said_in(held)
    assert isinstance(reply, EvaluateReply), "what is held answers the open round"
    return reply


def _state_of(optimizer: Optimizer) -> NumpyVector:
    return pack_state(optimizer.get_state())


def _told_by(optimizer: Optimizer) -> NumpyVector | None:
    """What the server's optimizer tells those of the clients."""
    return pack_aux(optimizer.collect_aux_var())


def _layout_of(known: Parcel | None) -> Layout:
    assert known is not None, "weights are made where none were submitted"
    return read_layout(open_parcel(known).layout)


def _unreadable(state: RunState, error: Exception) -> RunFailed:
    return RunFailed(f"what round {state.trained} left cannot be read any more: {error}")


def _untold(state: RunState) -> str:
    """Who does not tell the classes of its data, where others do."""
    told = {name: client.data_info.classes is not None for name, client in sorted(state.clients.items())}
    if all(told.values()) or not any(told.values()):
        return ""
    return f" (not told by {', '.join(name for name, tells in told.items() if not tells)})"
