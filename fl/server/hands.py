"""The one place where a leader acts: performs commands, each harmless when repeated."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np

from broker import topology
from broker.base import Delivery, Session
from broker.dead import bury
from broker.errors import BrokerError
from fl.core.mergeable import Sum
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.optimizer.aux import pack_aux, unpack_aux
from fl.core.requires import missing
from fl.core.state import pack_state, unpack_state
from fl.core.vector import Layout, NumpyVector, Role
from fl.errors import BadMessage, FluffleError, RunFailed
from fl.log import EventLog
from fl.run.commands import Append, Close, Command, CompleteWeights, Drop, Fold, Hold, Release, SetTimer, Sweep
from fl.run.events import ClientResult, Event, Folded, Kind, StartFailed, WeightsCompleted
from fl.run.state import RunState
from fl.run.step import step
from fl.server.fold import aggregator_of, evaluated, merged, updated
from fl.server.letters import Letter
from fl.server.mail import Mail, Send
from fl.server.post import Post
from fl.server.run_log import RunLog
from fl.server.shelf import Shelf
from fl.server.telling import tell
from fl.wire.envelope import seal, wrap
from fl.wire.messages_pb2 import EvaluateReply, RunClosed, TrainReply
from fl.wire.tensors import open_parcel

Clock = Callable[[], float]
Reply = TypeVar("Reply", TrainReply, EvaluateReply)


class StartOver(Exception):
    """What was vetted is not there any more: lead again from the log, and vet what comes again."""


class Hands:
    """Performs what is decided for one run, as long as this worker leads it."""

    def __init__(
        self, session: Session, run: str, *, leader: str, run_log: RunLog, post: Post, clock: Clock, log: EventLog
    ) -> None:
        self.session = session
        self._run = run
        self._run_log = run_log
        self._post = post
        self._leader = leader
        self._clock = clock
        self._log = log
        self._mail = Mail(session, leader=leader, clock=clock, log=log)
        self._shelf = Shelf(session, run, leader)
        self._held: list[Letter] = []
        self.dropped: Counter[str] = Counter()
        """Messages without effect, by reason."""
        self.closed = False

    async def take(self, state: RunState, event: Event, cause: Letter | None = None) -> RunState:
        """Decide about an event and do what follows, to the end; return the state after it.

        The letter that was its `cause` is acknowledged last, unless it is held until a commit.
        """
        state, commands = step(state, event)
        state = await self.perform(state, commands, cause)
        if cause is not None and not any(isinstance(command, Hold) for command in commands):
            await cause.delivery.ack()
        return state

    async def perform(self, state: RunState, commands: tuple[Command, ...], cause: Letter | None = None) -> RunState:
        """Perform commands in their order; messages to different clients go out side by side."""
        sends: list[Awaitable[None]] = []
        for command in commands:
            if isinstance(command, Send):
                sends.append(self._mail.send(state, command))
                continue
            await asyncio.gather(*sends)
            sends.clear()
            state = await self._perform_one(state, command, cause)
        await asyncio.gather(*sends)
        return state

    async def refuse(self, delivery: Delivery, reason: str) -> None:
        """Move a message that makes no sense to the dead letters, and say why."""
        self.dropped["dead letter"] += 1
        self._log.warning("message_rejected", key=delivery.routing_key, reason=reason)
        await bury(self.session, delivery, queue=topology.run_queue(self._run), reason=reason)

    async def withdraw(self, state: RunState) -> None:
        """Leave nothing behind but what the log, of which `state` is all, refers to."""
        await self._shelf.withdraw(state)

    async def _perform_one(self, state: RunState, command: Command, cause: Letter | None) -> RunState:
        match command:
            case Append(records=records):
                await self._run_log.append(records)
                for record in records:
                    tell(self._log, record)
                    state = await self.take(state, record)
            case CompleteWeights() | Fold():
                state = await self.take(state, await self._compute(state, command))
            case SetTimer(timer=timer, seconds=seconds):
                self._post.set_timer(timer, seconds)
            case Hold() if cause is not None:
                self._held.append(cause)
            case Release():
                await self._release()
            case Drop(reason=reason):
                self.dropped[reason] += 1
                self._log.info("message_dropped", sender=cause.sender if cause else "", reason=reason)
            case Sweep():
                await self._shelf.sweep(command)
                await self._shelf.clear_updates(state)
            case Close():
                await self._close(state)
            case _:
                raise TypeError(f"not a command: {command!r}")
        return state

    async def _compute(self, state: RunState, command: CompleteWeights | Fold) -> Event:
        """The outcome of what takes arithmetic. Raises `RunFailed` where a part of somebody else's raises anything."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # results are looked at as a whole
                match command:
                    case CompleteWeights():
                        return await self._complete(state, command)
                    case Fold(kind=Kind.TRAIN):
                        return await self._fold_training(state, command)
                    case Fold():
                        return self._fold_evaluation(state, command)
        except (FluffleError, BrokerError, StartOver):
            raise
        except Exception as error:  # a model, an aggregator or a metric may raise anything
            self._log.exception("computation_failed", of=type(command).__name__)
            raise RunFailed(f"a part of this run failed at the server: {type(error).__name__}: {error}") from error

    async def _complete(self, state: RunState, command: CompleteWeights) -> WeightsCompleted | StartFailed:
        """The weights that were submitted, or those that the model's kind makes of the data info."""
        model = state.spec.model
        lacking = missing(state.spec.requires)
        if lacking is not None:
            return StartFailed(f"the worker that leads it cannot: {lacking}")
        try:
            aux = pack_aux(Optimizer.from_config(state.spec.optim.server_opt).collect_aux_var())
            sent = await self._shelf.put_aux(aux, 0)
            if state.weights is not None:
                return WeightsCompleted(command.data_info, state.weights, sent)
            weights = Model.registry.get(model.kind).initial_weights(model.config, command.data_info)
        except FluffleError as error:
            return StartFailed(f"{error}{_untold(state)}")
        if weights is None:
            return StartFailed(f"a model of kind {model.kind!r} needs initial weights: submit the run with them")
        return WeightsCompleted(command.data_info, await self._shelf.put_weights(weights, 0), sent)

    async def _fold_training(self, state: RunState, command: Fold) -> Folded:
        weights, optimizer = await self._ground(state)
        fold, results = aggregator_of(state.spec).start(weights.layout), []
        aux: dict[str, Sum] = {}
        for client in command.clients:
            reply = self._held_reply(client, TrainReply)
            steps, samples = reply.n_steps, reply.n_samples
            update = await self._read_update(client, reply)
            await asyncio.to_thread(fold.add, update, client=client, n_steps=steps, n_samples=samples)
            try:
                aux = merged(aux, await self._read_aux(client, reply, weights.layout))
            except ValueError as error:
                raise RunFailed(f"what the clients' optimizers sent does not go together: {client}: {error}") from None
            norm = await asyncio.to_thread(update.select(Role.TRAINABLE).norm)
            results.append(ClientResult(client, steps, samples, reply.seconds, update_norm=norm))
        weights, note = await asyncio.to_thread(
            updated, weights, fold.finish(), optimizer, aux=aux, round_=command.round
        )
        name = weights.first_nonfinite()
        if name is not None:
            raise RunFailed(
                f"round {command.round} diverged: the sum of the clients' updates, each of them finite, leaves tensor "
                f"{name!r} with values that are NaN or infinite: use smaller learning rates, or an aggregator such as "
                "trimmed-mean that leaves out what is far from the others"
            )
        return Folded(
            tuple(results),
            weights=await self._shelf.put_weights(weights, command.round),
            server_state=await self._shelf.put_state(pack_state(optimizer.get_state()), command.round),
            aux=await self._shelf.put_aux(pack_aux(optimizer.collect_aux_var()), command.round),
            note=note,
        )

    async def _ground(self, state: RunState) -> tuple[NumpyVector, Optimizer]:
        """What the last commit left to go on from. Raises `RunFailed` when it is gone from the broker."""
        assert state.weights is not None, "a round starts from weights"
        optimizer = Optimizer.from_config(state.spec.optim.server_opt)
        try:
            weights = await self._shelf.weights(state.weights)
            if state.server_state is not None:
                optimizer.set_state(unpack_state(await self._shelf.read(open_parcel(state.server_state))))
        except (BadMessage, ValueError) as error:
            raise RunFailed(f"what round {state.trained} left cannot be read any more: {error}") from None
        return weights, optimizer

    async def _read_update(self, client: str, reply: TrainReply) -> NumpyVector:
        """An update that was vetted. Raises `StartOver` when it has changed or gone since."""
        try:
            return await self._shelf.read(reply.update)
        except BadMessage as error:
            raise StartOver(f"the update of {client} is gone: {error}") from None

    async def _read_aux(self, client: str, reply: TrainReply, layout: Layout) -> dict[str, Sum]:
        """What a client's optimizer sent, vetted as its update was."""
        if not reply.HasField("aux"):
            return {}
        try:
            return unpack_aux(await self._shelf.read(reply.aux), layout.select(Role.TRAINABLE))
        except BadMessage as error:
            raise StartOver(f"what the optimizer of {client} sent is gone: {error}") from None

    def _fold_evaluation(self, state: RunState, command: Fold) -> Folded:
        replies = [(client, self._held_reply(client, EvaluateReply)) for client in command.clients]
        result = evaluated(state.spec, replies)
        return Folded(result.results, loss=result.loss, metrics=result.metrics)

    def _held_reply(self, client: str, kind: type[Reply]) -> Reply:
        return next(held.body for held in self._held if held.sender == client and isinstance(held.body, kind))

    async def _release(self) -> None:
        """Acknowledge what is held, all of it settled by a record."""
        held, self._held = self._held, []
        await asyncio.gather(*(letter.delivery.ack() for letter in held))

    async def _close(self, state: RunState) -> None:
        await self.session.delete(topology.run_queue(state.run))
        await announce_end(self.session, state, sender=self._leader, now=self._clock())
        self.closed = True


async def announce_end(session: Session, state: RunState, *, sender: str, now: float) -> None:
    """Tell everybody that a run is over; harmless when repeated."""
    assert state.ended is not None, "only a run that has ended is announced"
    body = RunClosed(status=state.ended.status.value, reason=state.ended.reason)
    message = seal(wrap(state.run, sender, body, now=now), user=session.user)
    await session.publish(message, routing_key=topology.RUNS.name)


def _untold(state: RunState) -> str:
    """Who does not tell the classes of its data, where others do."""
    told = {name: client.data_info.classes is not None for name, client in sorted(state.clients.items())}
    if all(told.values()) or not any(told.values()):
        return ""
    return f" (not told by {', '.join(name for name, tells in told.items() if not tells)})"
