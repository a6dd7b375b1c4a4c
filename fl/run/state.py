"""What a leader knows of a run: a fold over its log, and beside it what it has observed since it leads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from fl.core.data_info import DataInfo
from fl.run.events import (
    ClientsAdmitted,
    ClientsReady,
    Kind,
    LeaderStarted,
    Note,
    Parcel,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
)
from fl.run.sampling import Past
from fl.run.spec import RunSpec


class Phase(Enum):
    """Where a run stands."""

    REGISTERING = "registering"
    PREPARING = "preparing"
    """Clients are admitted, the first weights are not made yet."""
    INITIALISING = "initialising"
    """Clients build the model."""
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Client:
    """An admitted client."""

    data_info: DataInfo
    ready: bool = False
    problem: str | None = None
    """Why it could not build the model."""
    past: Past = field(default_factory=Past)
    """Its rounds so far: what samplers go by."""


@dataclass(frozen=True, slots=True)
class OpenRound:
    """The round whose replies are awaited."""

    opened: RoundOpened
    leaders: tuple[str, ...]
    """Who has led since it was opened: they may have left half-written bulk."""

    @property
    def name(self) -> str:
        return f"{self.opened.kind.value} round {self.opened.round}"


@dataclass(frozen=True, slots=True)
class Best:
    """The evaluated weights with the lowest loss; of equal ones the latest."""

    round: int
    loss: float
    weights: Parcel


@dataclass(frozen=True, slots=True)
class Seen:
    """What the present leader has observed: gone with it, and observed again by its successor."""

    joining: Mapping[str, DataInfo] = field(default_factory=dict)
    """Who asked to take part while registration is open."""
    done: frozenset[str] = frozenset()
    """Who has answered what the phase awaits: initialisation, or the open round."""
    out: Mapping[str, str] = field(default_factory=dict)
    """Who will not answer it, and why."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """How often a client has said meanwhile that it does not have the model."""
    folding: bool = False

    def with_done(self, client: str) -> "Seen":
        return replace(
            self, done=self.done | {client}, out={name: why for name, why in self.out.items() if name != client}
        )

    def with_out(self, client: str, reason: str) -> "Seen":
        return self if client in self.done else replace(self, out={**self.out, client: reason})

    def with_lost(self, client: str) -> "Seen":
        return replace(self, lost={**self.lost, client: self.lost.get(client, 0) + 1})


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as its log tells it, and `seen`."""

    run: str
    spec: RunSpec
    phase: Phase = Phase.REGISTERING
    leader: str = ""
    clients: Mapping[str, Client] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    data_info: DataInfo | None = None
    weights: Parcel | None = None
    fixed: Parcel | None = None
    """Tensors that no round changes."""
    server_state: Parcel | None = None
    aux: Parcel | None = None
    """What the clients' optimizers are sent in the next training round."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """The last training round that counts each client: where its own state goes on from."""
    trained: int = 0
    """Training rounds committed."""
    evaluated: int = 0
    """The training round whose weights were evaluated last."""
    losses: tuple[float, ...] = ()
    best: Best | None = None
    open: OpenRound | None = None
    garbage: tuple[Parcel, ...] = ()
    """Bulk that the last commit made useless."""
    ended: RunEnded | None = None
    seen: Seen = Seen()

    @property
    def ready(self) -> tuple[str, ...]:
        """Clients that can take part in a round, in the order of every fold."""
        return tuple(sorted(name for name, client in self.clients.items() if client.ready))

    @property
    def unready(self) -> tuple[Note, ...]:
        """Clients that could not build the model, and why."""
        clients = sorted(self.clients.items())
        return tuple(Note(name, client.problem) for name, client in clients if client.problem is not None)

    @property
    def awaiting(self) -> frozenset[str]:
        """Clients whose answer still matters to what the run waits for."""
        if self.seen.folding:
            return frozenset()
        if self.phase is Phase.INITIALISING:
            asked = frozenset(self.clients)
        else:
            asked = frozenset(self.open.opened.participants if self.open is not None else ())
        return asked - self.seen.done - self.seen.out.keys()

    @property
    def final_weights(self) -> tuple[int, Parcel | None]:
        """The round and weights that the run would leave if it ended now: the best, or else the latest."""
        if self.best is not None:
            return self.best.round, self.best.weights
        return self.trained, self.weights


def apply(state: RunState, record: Record) -> RunState:
    """The state after a record. Knows nothing of why it was decided, so that any log can be replayed."""
    match record:
        case LeaderStarted(leader=leader):
            return _lead(state, leader)
        case ClientsAdmitted():
            return _admit(state, record)
        case RunInitialised():
            return replace(
                state,
                phase=Phase.INITIALISING,
                data_info=record.data_info,
                weights=record.weights,
                aux=record.aux,
                fixed=record.fixed,
                seen=Seen(),
            )
        case ClientsReady():
            return _get_ready(state, record)
        case RoundOpened():
            return _open(state, record)
        case RoundCommitted(kind=Kind.TRAIN):
            return _commit_training(state, record)
        case RoundCommitted():
            return _commit_evaluation(state, record)
        case RunEnded():
            return replace(
                state, phase=Phase.ENDED, open=None, ended=record, garbage=_superseded(state, record), seen=Seen()
            )
        case _:
            raise TypeError(f"not a record: {record!r}")


def _lead(state: RunState, leader: str) -> RunState:
    open_ = state.open and replace(state.open, leaders=(*state.open.leaders, leader))
    return replace(state, leader=leader, open=open_, seen=Seen())


def _admit(state: RunState, record: ClientsAdmitted) -> RunState:
    clients = {**state.clients, **{name: Client(info) for name, info in record.clients}}
    refused = {**state.refused, **{note.client: note.reason for note in record.refused}}
    if state.phase is not Phase.REGISTERING:
        return replace(state, clients=clients, refused=refused)
    return replace(state, phase=Phase.PREPARING, clients=clients, refused=refused, seen=Seen())


def _get_ready(state: RunState, record: ClientsReady) -> RunState:
    ready = {name: replace(state.clients[name], ready=True, problem=None) for name in record.clients}
    failed = {note.client: replace(state.clients[note.client], problem=note.reason) for note in record.failed}
    seen = Seen() if state.phase is Phase.INITIALISING else state.seen
    return replace(state, phase=Phase.RUNNING, clients={**state.clients, **ready, **failed}, seen=seen)


def _open(state: RunState, record: RoundOpened) -> RunState:
    asked = {name: state.clients[name].past for name in record.participants if record.kind is Kind.TRAIN}
    pasts = {name: replace(past, asked=past.asked + 1) for name, past in asked.items()}
    return replace(state, open=OpenRound(record, (state.leader,)), clients=_with_pasts(state, pasts), seen=Seen())


def _with_pasts(state: RunState, pasts: Mapping[str, Past]) -> Mapping[str, Client]:
    return {**state.clients, **{name: replace(state.clients[name], past=past) for name, past in pasts.items()}}


def _commit_training(state: RunState, record: RoundCommitted) -> RunState:
    kept = {record.weights, record.server_state, record.aux, state.best and state.best.weights}
    old = (state.weights, state.server_state, state.aux)
    pasts = {one.client: replace(state.clients[one.client].past, trained=one) for one in record.participants}
    return replace(
        state,
        weights=record.weights,
        server_state=record.server_state,
        aux=record.aux,
        counted={**state.counted, **dict.fromkeys((one.client for one in record.participants), record.round)},
        clients=_with_pasts(state, pasts),
        trained=record.round,
        open=None,
        garbage=tuple(parcel for parcel in old if parcel is not None and parcel not in kept),
        seen=Seen(),
    )


def _commit_evaluation(state: RunState, record: RoundCommitted) -> RunState:
    loss = math.nan if record.loss is None else record.loss
    best = state.best
    garbage: tuple[Parcel, ...] = ()
    if state.weights is not None and not math.isnan(loss) and (best is None or loss <= best.loss):
        garbage = () if best is None or best.weights == state.weights else (best.weights,)
        best = Best(record.round, loss, state.weights)
    pasts = {one.client: replace(state.clients[one.client].past, loss=one.loss) for one in record.participants}
    return replace(
        state,
        clients=_with_pasts(state, pasts),
        evaluated=record.round,
        losses=(*state.losses, loss),
        best=best,
        open=None,
        garbage=garbage,
        seen=Seen(),
    )


def _superseded(state: RunState, end: RunEnded) -> tuple[Parcel, ...]:
    best = None if state.best is None else state.best.weights
    held = {state.weights, state.server_state, state.aux, best, *state.garbage} - {end.weights}
    unused = (parcel for parcel in held if parcel is not None)
    return tuple(sorted(unused, key=lambda parcel: (parcel.digest, parcel.payload)))
