"""What a leader knows of a run: a fold over its log, and beside it what it has observed since it leads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from fl.core.data_info import DataInfo
from fl.run.dealing import by_block
from fl.run.events import (
    Cause,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Fallen,
    Kind,
    LeaderStarted,
    Note,
    Parcel,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    StillWaiting,
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
    away: bool = False
    """Nobody consumed its queue when it was last asked; until it joins again it is not."""
    failures: int = 0
    """Rounds in a row in which it failed."""
    last_failure: str = ""

    def is_set_aside(self, spec: RunSpec) -> bool:
        """Whether it has failed so often that it is not asked any more."""
        return 0 < spec.run.set_aside_after <= self.failures


@dataclass(frozen=True, slots=True)
class OpenRound:
    """The round whose replies are awaited."""

    opened: RoundOpened
    closed: tuple[str, ...] | None = None
    """Whose updates are to be in the sum, once that is settled, in rounds that shards sum."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Who may be in the sum."""
        return self.opened.participants if self.closed is None else self.closed

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
    lost: Mapping[str, int] = field(default_factory=dict)
    """How often a client has said meanwhile that it does not have the model."""
    sent: frozenset[str] = frozenset()
    """Who was sent the model since, and has not said that it has it."""
    asked_again: frozenset[str] = frozenset()
    """Whose update could not be used, and who were asked for it once more."""
    summed: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Blocks of the open round whose sums are here, and who is in each."""
    folding: bool = False
    passed_s: float = 0.0
    """How long has been waited since that was last logged."""

    def with_done(self, client: str) -> "Seen":
        return replace(self, done=self.done | {client})

    def with_fresh(self, client: str) -> "Seen":
        """A daemon that joins again has begun anew: what it lost before was another's."""
        lost = {name: times for name, times in self.lost.items() if name != client}
        return replace(self, lost=lost, sent=self.sent | {client})

    def with_lost(self, client: str) -> "Seen":
        lost = {**self.lost, client: self.lost.get(client, 0) + 1}
        return replace(self, lost=lost, sent=self.sent | {client})


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
    sent_weights: Parcel | None = None
    """The weights as clients get them, where they are compressed."""
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
    fallen: tuple[Fallen, ...] = ()
    """Leaders that may have left half-written bulk."""
    asked_by: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Who led each training round that updates may be left of: the last committed one, and the one after it."""
    waited_s: float = 0.0
    """How long what is awaited has been, as far as that was logged."""
    out: Mapping[str, Note] = field(default_factory=dict)
    """Who is not waited for in what is open, and why."""
    paused: str | None = None
    """Why the run waits for clients to come back."""
    ended: RunEnded | None = None
    seen: Seen = Seen()

    @property
    def ready(self) -> tuple[str, ...]:
        """Clients that can take part in a round, in the order of every fold."""
        return tuple(sorted(name for name, client in self.clients.items() if client.ready and not self._lacks(client)))

    def _lacks(self, client: Client) -> bool:
        return client.away or client.is_set_aside(self.spec)

    @property
    def lacking(self) -> tuple[Note, ...]:
        """Clients that cannot take part in a round, and why."""
        return tuple(note for name, client in sorted(self.clients.items()) if (note := self._why_not(name, client)))

    def _why_not(self, name: str, client: Client) -> Note | None:
        if client.problem is not None:
            return Note(name, client.problem)
        if client.is_set_aside(self.spec):
            return Note(name, f"set aside after {client.failures} failed rounds: {client.last_failure}")
        return Note(name, "gone", Cause.GONE) if client.away else None

    @property
    def wanted(self) -> frozenset[str]:
        """Clients whose answer would still count."""
        if self.seen.folding:
            return frozenset()
        if self.phase is Phase.INITIALISING:
            return frozenset(self.clients) - self.seen.done
        failed = {name for name, note in self.out.items() if note.cause is not Cause.GONE}
        asked = frozenset(self.open.asked if self.open is not None else ())
        return asked - self.seen.done - failed

    @property
    def awaiting(self) -> frozenset[str]:
        """Clients that the run waits for."""
        return self.wanted - self.out.keys()

    @property
    def base(self) -> Parcel | None:
        """The weights that clients are sent: what they answer starts from these."""
        return self.sent_weights or self.weights

    @property
    def held(self) -> set[Parcel]:
        """Bulk that the run goes on from, or leaves."""
        best = None if self.best is None else self.best.weights
        left = None if self.ended is None else self.ended.weights
        known = {self.weights, self.sent_weights, self.fixed, self.server_state, self.aux, best, left}
        return {parcel for parcel in known if parcel is not None}

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
                sent_weights=record.sent_weights,
                aux=record.aux,
                fixed=record.fixed,
                waited_s=0.0,
                out={},
                seen=Seen(),
            )
        case ClientsReady():
            return _get_ready(state, record)
        case RoundOpened():
            return _open(state, record)
        case RoundClosed(clients=clients):
            return _close(state, clients)
        case RoundCommitted(kind=Kind.TRAIN):
            return _commit_training(state, record)
        case RoundCommitted():
            return _commit_evaluation(state, record)
        case RunEnded():
            garbage = _superseded(state, record)
            return replace(
                state, phase=Phase.ENDED, open=None, ended=record, garbage=garbage, out={}, paused=None, seen=Seen()
            )
        case StillWaiting(waited_s=waited_s):
            return replace(state, waited_s=waited_s, seen=replace(state.seen, passed_s=0.0))
        case RunPaused(reason=reason):
            state = replace(state, open=_reopened(state.open))
            return replace(state, paused=reason, waited_s=0.0, seen=replace(state.seen, passed_s=0.0))
        case ClientsReturned(clients=names):
            back = {name: replace(state.clients[name], away=False, failures=0) for name in names}
            out = {name: note for name, note in state.out.items() if name not in back}
            return replace(state, clients={**state.clients, **back}, out=out)
        case ClientsOut(clients=notes):
            return replace(state, out={**state.out, **{note.client: note for note in notes}})
        case _:
            raise TypeError(f"not a record: {record!r}")


def _lead(state: RunState, leader: str) -> RunState:
    fallen = state.fallen if (round_ := _written(state)) is None else (*state.fallen, Fallen(state.leader, round_))
    asked_by = dict(state.asked_by)
    if state.open is not None and state.open.opened.kind is Kind.TRAIN:
        round_ = state.open.opened.round
        asked_by[round_] = (*asked_by[round_], leader)
    return replace(state, leader=leader, fallen=fallen, asked_by=asked_by, seen=Seen())


def _written(state: RunState) -> int | None:
    """The round whose weights the leader may be writing, if it may."""
    if state.phase is Phase.PREPARING:
        return 0
    training = state.open is not None and state.open.opened.kind is Kind.TRAIN
    return state.trained + 1 if training else None


def _admit(state: RunState, record: ClientsAdmitted) -> RunState:
    clients = {**state.clients, **{name: Client(info) for name, info in record.clients}}
    refused = {**state.refused, **{note.client: note.reason for note in record.refused}}
    if state.phase is not Phase.REGISTERING:
        return replace(state, clients=clients, refused=refused)
    return replace(state, phase=Phase.PREPARING, clients=clients, refused=refused, waited_s=0.0, seen=Seen())


def _get_ready(state: RunState, record: ClientsReady) -> RunState:
    ready = {name: replace(state.clients[name], ready=True, problem=None) for name in record.clients}
    failed = {note.client: replace(state.clients[note.client], problem=note.reason) for note in record.failed}
    first = state.phase is Phase.INITIALISING
    state = replace(state, phase=Phase.RUNNING, clients={**state.clients, **ready, **failed})
    return replace(state, waited_s=0.0, out={}, seen=Seen()) if first else state


def _open(state: RunState, record: RoundOpened) -> RunState:
    asked = {name: state.clients[name].past for name in record.participants if record.kind is Kind.TRAIN}
    pasts = {name: replace(past, asked=past.asked + 1) for name, past in asked.items()}
    clients = {**state.clients, **{name: replace(state.clients[name], past=past) for name, past in pasts.items()}}
    asked_by = state.asked_by if record.kind is Kind.EVALUATE else _asked_by_also(state, record.round)
    return replace(
        state,
        open=OpenRound(record),
        clients=clients,
        asked_by=asked_by,
        paused=None,
        waited_s=0.0,
        out={},
        seen=Seen(),
    )


def _asked_by_also(state: RunState, round_: int) -> Mapping[int, tuple[str, ...]]:
    """Who led the last committed round, and the present leader for the one that it opens."""
    last = {number: leaders for number, leaders in state.asked_by.items() if number == state.trained}
    return {**last, round_: (state.leader,)}


def _close(state: RunState, clients: tuple[str, ...]) -> RunState:
    """Sums of others than these are of no use."""
    if state.open is None:
        return state
    parts = by_block(state.open.opened, clients)
    summed = {block: names for block, names in state.seen.summed.items() if parts.get(block) == names}
    return replace(
        state, open=replace(state.open, closed=clients), paused=None, seen=replace(state.seen, summed=summed)
    )


def _reopened(open_: OpenRound | None) -> OpenRound | None:
    """The round, for whoever may be in its sum after all."""
    return open_ if open_ is None or open_.closed is None else replace(open_, closed=None)


def _after_round(state: RunState, record: RoundCommitted) -> Mapping[str, Client]:
    """The clients after a round: with what samplers go by, and with who has failed or is gone."""
    trains = record.kind is Kind.TRAIN
    clients = dict(state.clients)
    for one in record.participants:
        client = clients[one.client]
        past = replace(client.past, trained=one) if trains else replace(client.past, loss=one.loss)
        clients[one.client] = replace(client, past=past, failures=0 if trains else client.failures)
    for note in record.dropped:
        client = clients[note.client]
        if note.cause is Cause.GONE:
            clients[note.client] = replace(client, away=True)
        elif note.cause is Cause.FAILED:
            clients[note.client] = replace(client, failures=client.failures + 1, last_failure=note.reason)
    return clients


def _commit_training(state: RunState, record: RoundCommitted) -> RunState:
    kept = {record.weights, record.sent_weights, record.server_state, record.aux, state.best and state.best.weights}
    old = (state.weights, state.sent_weights, state.server_state, state.aux)
    return replace(
        state,
        weights=record.weights,
        sent_weights=record.sent_weights,
        server_state=record.server_state,
        aux=record.aux,
        counted={**state.counted, **dict.fromkeys((one.client for one in record.participants), record.round)},
        clients=_after_round(state, record),
        trained=record.round,
        open=None,
        paused=None,
        waited_s=0.0,
        out={},
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
    return replace(
        state,
        clients=_after_round(state, record),
        evaluated=record.round,
        losses=(*state.losses, loss),
        best=best,
        open=None,
        paused=None,
        waited_s=0.0,
        out={},
        garbage=garbage,
        seen=Seen(),
    )


def _superseded(state: RunState, end: RunEnded) -> tuple[Parcel, ...]:
    unused = (state.held | {*state.garbage}) - {end.weights, state.fixed}
    return tuple(sorted(unused, key=lambda parcel: (parcel.digest, parcel.payload)))
