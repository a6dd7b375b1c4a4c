"""A whole run in one process, without a broker or messages: for a thousand clients and more.

What a leader decides (`fl.run.step`), how it adds up (`fl.server.fold`) and what a client does in a round
(`fl.client.learner`) is the code of every run; only what lies between them is left out. So a run of a spec that has a
seed comes to the same weights and records, bit for bit, as over a broker.

Time is not waited for: all clients are there when the run begins, and where a run would wait for somebody, time jumps
to the end of the wait. Where a round takes the first replies (`sampling.take`), who is first is drawn anew each round.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from secrets import token_bytes
from typing import Final
from uuid import uuid4

import numpy as np

from fl.client.learner import Shared
from fl.core.layout import Role
from fl.core.model import Model
from fl.core.optimizer import Optimizer
from fl.core.optimizer.aux import pack_aux
from fl.core.state import pack_state, unpack_state
from fl.core.training import round_generator
from fl.core.vector import SHARED, NumpyVector
from fl.errors import ConfigError, Fatal, FluffleError, RunFailed
from fl.main.outcome import Outcome
from fl.main.simulation_crowd import Crowd, Unable, VirtualClient
from fl.main.simulation_sums import TrainingSum, as_received, reply_of
from fl.main.simulation_vectors import VectorStore
from fl.run.asking import enough
from fl.run.central_rules import unprotected
from fl.run.commands import Append, Close, Command, CompleteWeights, Fold, SendInit, SendRound, SetTimer, Sweep
from fl.run.ending import fail
from fl.run.events import (
    ClientFailed,
    Event,
    Folded,
    InitAnswered,
    JoinAsked,
    Kind,
    LeaderStarted,
    Parcel,
    Record,
    Replied,
    RoundOpened,
    StartFailed,
    Timer,
    TimeUp,
    Trouble,
    WeightsCompleted,
)
from fl.run.releases import SECRET_BYTES, planned
from fl.run.spec import RunSpec, weights_compression_of
from fl.run.state import RunState
from fl.run.step import LOGIC_VERSION, resume, step
from fl.run.terms import PrivacySettled
from fl.server.fold import EvaluationSum, beyond
from fl.submit.history import Happened, History
from fl.wire.messages_pb2 import EvaluateReply

LEADER: Final = "simulation"


def simulate(
    spec: RunSpec,
    clients: Iterable[VirtualClient],
    *,
    weights: NumpyVector | None = None,
    run: str | None = None,
    secret: bytes | None = None,
    on_event: Callable[[Happened], None] = lambda _: None,
) -> Outcome:
    """Run `spec` to its end with these clients, from `weights` where the model does not make its own.

    `on_event` hears of each record. A run that fails, as where the model does not fit the data, says why in its
    outcome. One that is centrally private is the same again for the same name and `secret` only. Raises `ConfigError`
    for one that waits for more clients than there are.
    """
    name = run or f"{spec.name}-{uuid4().hex[:6]}"
    simulation = Simulation(spec, clients, weights=weights, run=name, secret=secret)
    return simulation.play(on_event)


class Simulation:
    """The leader of one simulated run."""

    def __init__(
        self,
        spec: RunSpec,
        clients: Iterable[VirtualClient],
        *,
        weights: NumpyVector | None,
        run: str,
        secret: bytes | None = None,
    ) -> None:
        alone = {"patience": 0.0, "shards": 1}  # nobody can come back, and nobody shares the work
        spec = planned(spec.model_copy(update={"run": spec.run.model_copy(update=alone)}))
        self._crowd = Crowd(spec, clients, run=run)
        self._vectors = VectorStore()
        self._state = RunState(run, spec, secret=secret or token_bytes(SECRET_BYTES))
        if weights is not None:
            fixed = weights.select(Role.FIXED)
            self._state = replace(
                self._state,
                weights=self._vectors.put(weights.select(*SHARED)),
                fixed=self._vectors.put(fixed) if fixed.layout.specs else None,
            )
        self._building: list[str] = []
        """Who was asked to build the model and has not answered."""
        self._asked: list[str] = []
        """Who was asked for its part of the open round and has not answered."""
        self._timer: Timer | None = None
        self._sum: TrainingSum | None = None
        self._evaluations: dict[str, EvaluateReply] = {}
        self._closed = False
        self._history = History()
        self._tell: Callable[[Happened], None] = lambda _: None

    def play(self, on_event: Callable[[Happened], None]) -> Outcome:
        """The run from its beginning to its end."""
        self._tell = on_event
        self._take(LeaderStarted(LEADER, LEADER, LOGIC_VERSION))
        for command in resume(self._state):
            self._perform(command)
        self._join()
        while not self._closed:
            try:
                self._go_on()
            except Fatal as error:  # no other reply will mend it
                self._perform(fail(self._state, str(error)))
        return self._outcome()

    # ---- the leader -------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        """Decide about an event and do what follows, to the end."""
        self._state, commands = step(self._state, event)
        if isinstance(event, Record):
            happened = Happened(time.time(), event, self._state)
            self._history.add(happened)
            self._tell(happened)
        for command in commands:
            self._perform(command)

    def _perform(self, command: Command) -> None:
        match command:
            case Append(records=records):
                for record in records:
                    self._take(record)
            case CompleteWeights():
                self._take(self._completed(command))
            case Fold(kind=Kind.TRAIN):
                self._take(self._trained(command))
            case Fold():
                self._take(self._evaluated(command))
            case SendInit(client=client):
                self._building.append(client)
            case SendRound(client=client):
                self._asked.append(client)
            case SetTimer(timer=timer, seconds=seconds):
                self._timer = None if seconds is None else timer
            case Sweep():
                self._vectors.keep_only(self._state.held)
            case Close():
                self._closed = True
            case _:
                pass  # letters that nobody answers, and what is acknowledged at a broker

    def _completed(self, command: CompleteWeights) -> WeightsCompleted | StartFailed:
        spec = self._state.spec
        aux = self._put_aux(Optimizer.from_config(spec.optim.server_opt))
        if self._state.weights is not None:
            first = self._vectors.get(self._state.weights)
            return self._started(command, first, self._state.weights, aux)
        try:
            weights = Model.registry.get(spec.model.kind).initial_weights(spec.model.config, command.data_info)
        except FluffleError as error:
            return StartFailed(str(error))
        if weights is None:
            return StartFailed(f"a model of kind {spec.model.kind!r} needs initial weights: give the run some")
        return self._started(command, weights, self._vectors.put(weights), aux)

    def _started(
        self, command: CompleteWeights, weights: NumpyVector, known: Parcel, aux: Parcel | None
    ) -> WeightsCompleted | StartFailed:
        why_not = unprotected(weights.layout) if self._state.spec.run.central_privacy is not None else None
        if why_not is not None:
            return StartFailed(why_not)
        sent, _ = self._put_sent(weights)
        return WeightsCompleted(command.data_info, known, aux, sent)

    def _trained(self, command: Fold) -> Folded:
        total, self._sum = self._sum or self._new_sum(), None
        with _blaming_parts():
            optimizer = Optimizer.from_config(self._state.spec.optim.server_opt)
            if self._state.server_state is not None:
                optimizer.set_state(unpack_state(self._vectors.get(self._state.server_state)))
            assert self._state.weights is not None, "a round starts from weights"
            before = self._vectors.get(self._state.weights)
            clip_norm = total.protect(self._state)
            weights, note = total.weights_after(before, optimizer, round_=command.round)
            sent, why_not = self._put_sent(weights)
            return Folded(
                tuple(total.results),
                weights=self._vectors.put(weights),
                sent_weights=sent,
                server_state=self._vectors.put(pack_state(optimizer.get_state())),
                aux=self._put_aux(optimizer),
                note="; ".join(filter(None, (note, why_not))),
                clip_norm=clip_norm,
            )

    def _evaluated(self, command: Fold) -> Folded:
        with _blaming_parts():
            total = EvaluationSum(self._state.spec)
            total.add((client, self._evaluations[client]) for client in command.clients)
            result = total.result()
        return Folded(result.results, loss=result.loss, metrics=result.metrics)

    def _put_aux(self, optimizer: Optimizer) -> Parcel | None:
        aux = pack_aux(optimizer.collect_aux_var())
        return None if aux is None else self._vectors.put(aux)

    def _put_sent(self, weights: NumpyVector) -> tuple[Parcel | None, str]:
        """The weights as clients get them, where they are compressed, and why they are not, where they should be."""
        compression = weights_compression_of(self._state.spec)
        if compression.lossless:
            return None, ""
        why_not = beyond(weights, compression)
        return (None, why_not) if why_not else (self._vectors.put(weights, compression), "")

    @property
    def _base(self) -> NumpyVector:
        """The weights that clients get."""
        assert self._state.base is not None, "a run that is initialised has weights"
        return self._vectors.get(self._state.base)

    def _outcome(self) -> Outcome:
        state, end = self._state, self._state.ended
        assert end is not None, "only a run that has ended is closed"
        left = [self._vectors.get(part) for part in (end.weights, state.fixed) if part is not None]
        weights = None if end.weights is None else NumpyVector.join(*left)
        return Outcome(state.run, state.spec, end.status, end.reason, end.best_round, weights, self._history)

    # ---- the clients ------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Let those answer who are asked for something; if nobody is, what is waited for does not come."""
        if self._building:
            self._build()
        elif self._asked:
            self._answer()
        else:
            assert self._timer is not None, "a run that asks nobody waits for some time"
            self._take(TimeUp(self._timer))

    def _join(self) -> None:
        """All join; those for whom there is no place come last. Raises `ConfigError` where more are waited for."""
        register, names = self._state.spec.run.registration, list(self._crowd.clients)
        least = register.max_clients if register.timeout is None else None
        if len(names) < (least or register.min_clients):
            raise ConfigError(
                f"the run waits for {least or f'at least {register.min_clients}'} clients (run.register), and "
                f"{len(names)} are simulated: change one of them"
            )
        infos = {name: client.data_info for name, client in self._crowd.clients.items()}
        first = names[: min(len(names), register.max_clients or len(names)) - 1]
        self._state = replace(
            self._state, seen=replace(self._state.seen, joining={name: infos[name] for name in first})
        )
        for name in names[len(first) :]:
            self._take(JoinAsked(name, infos[name]))

    def _build(self) -> None:
        names, self._building = self._building, []
        state = self._state
        assert state.data_info is not None, "a run that is initialised has it"
        fixed = None if state.fixed is None else self._vectors.get(state.fixed)
        self._crowd.initialise(Shared(state.data_info, self._base.layout, fixed))
        if state.spec.run.privacy is None:
            self._hear(names, [InitAnswered(name) for name in names[-1:]])
            return
        for name in names:
            self._take(self._settled(name))

    def _settled(self, name: str) -> PrivacySettled | ClientFailed:
        """What a client says of its privacy."""
        try:
            return PrivacySettled(name, self._crowd.settle_privacy(name))
        except Unable as error:
            return ClientFailed(name, Trouble.FAILED, str(error))

    def _answer(self) -> None:
        """Those who are asked answer one by one, until the round has what it takes."""
        assert self._state.open is not None, "only an open round asks"
        assert self._state.base is not None, "a round starts from weights"
        asked, self._asked = self._asked, []
        opened, base = self._state.open.opened, self._state.base.digest
        answer = self._evaluator() if opened.kind is Kind.EVALUATE else self._trainer()
        with _blaming_parts():
            answered, unable = _ask(self._order(asked, opened), answer, enough(self._state.spec, opened))
        for name, why in unable.items():
            self._take(ClientFailed(name, Trouble.FAILED, why, opened.round, base))
        self._hear(answered, [Replied(name, opened.kind, opened.round, base) for name in answered[-1:]])

    def _hear(self, names: Sequence[str], last: Sequence[Event]) -> None:
        """All of these have answered, each as the last of them does.

        Nothing follows from an answer while others are awaited but that it is seen: so only the last is an event.
        """
        seen = self._state.seen
        self._state = replace(self._state, seen=replace(seen, done=seen.done | set(names[:-1])))
        for event in last:
            self._take(event)

    def _trainer(self) -> Callable[[str], None]:
        """What makes a client train in the open round."""
        state, weights, vectors = self._state, self._base, self._vectors
        round_, counted = state.trained + 1, state.counted
        self._sum = total = self._new_sum()
        aux = {} if state.aux is None else as_received(vectors.get(state.aux), weights.layout)

        def train(name: str) -> None:
            total.take(name, self._crowd.train(name, round_, weights, counted=counted.get(name, 0), aux=aux))

        return train

    def _new_sum(self) -> TrainingSum:
        """Of the open round; nobody is in it as long as nobody has trained."""
        state = self._state
        in_order = state.spec.run.sampling.take is None
        asked = state.open.opened.participants if state.open is not None else ()
        return TrainingSum(state, self._base.layout, asked=asked, in_order=in_order)

    def _evaluator(self) -> Callable[[str], None]:
        """What makes a client evaluate the weights."""
        weights, counted = self._base, self._state.counted
        self._evaluations = evaluations = {}

        def evaluate(name: str) -> None:
            result = self._crowd.evaluate(name, weights, counted=counted.get(name, 0))
            evaluations[name] = reply_of(result, share_metrics=self._crowd.clients[name].share_metrics)

        return evaluate

    def _order(self, names: Sequence[str], opened: RoundOpened) -> Sequence[str]:
        """In which clients answer: by their names, or as it comes where the round takes the first."""
        if enough(self._state.spec, opened) is None:
            return names
        seed = self._state.spec.run.seed
        key, run = (b"", self._state.run) if seed is None else (str(seed).encode(), "")
        rng = round_generator(key, run=run, round_=opened.round, purpose="order of answers")
        return [names[place] for place in rng.permutation(len(names))]


def _ask(names: Iterable[str], answer: Callable[[str], None], limit: int | None) -> tuple[list[str], dict[str, str]]:
    """The first `limit` clients that could answer, or all, and why others could not."""
    answered: list[str] = []
    unable: dict[str, str] = {}
    for name in names:
        try:
            answer(name)
        except Unable as error:
            unable[name] = str(error)
            continue
        answered.append(name)
        if len(answered) == limit:
            break
    return answered, unable


@contextmanager
def _blaming_parts() -> Iterator[None]:
    """Raises `RunFailed` where a part of somebody else's raises anything."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # results are looked at as a whole
            yield
    except FluffleError:
        raise
    except Exception as error:  # an aggregator, an optimizer or a metric may raise anything
        raise RunFailed(f"a part of this run failed at the server: {type(error).__name__}: {error}") from error
