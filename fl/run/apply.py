"""How each record of the log changes what is known of a run."""

import math
from collections.abc import Mapping
from dataclasses import replace

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
from fl.run.releases import is_noised
from fl.run.state import Best, Client, OpenRound, Phase, RunState, Seen


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
    open_ = state.open
    if open_ is not None and open_.closed == ():
        open_ = _reopened(open_)  # with no answers to wait for, it is this record that makes a leader sum up
    closed = open_ is not None and open_.closed is not None
    released = state.released + (closed and _gets_noise(state))
    return replace(state, leader=leader, open=open_, fallen=fallen, asked_by=asked_by, released=released, seen=Seen())


def _gets_noise(state: RunState) -> bool:
    """Whether the open round ends with a sum that is counted (`releases.py`)."""
    return state.open is not None and is_noised(state.spec, state.open.opened)


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
    terms = dict(record.terms)
    ready = {
        name: replace(state.clients[name], ready=True, problem=None, terms=terms.get(name)) for name in record.clients
    }
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
        open=OpenRound(record, n_ready=len(state.ready)),
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
        state,
        open=replace(state.open, closed=clients),
        paused=None,
        released=state.released + _gets_noise(state),
        seen=replace(state.seen, summed=summed),
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
        elif note.cause is Cause.REFUSED:
            clients[note.client] = replace(client, ready=False, problem=note.reason)
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
        clip_norm=record.clip_norm,
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
