"""What follows from a decision: the commands after each record, and the record that comes next."""

from collections.abc import Iterable
from typing import Final

from fl.core.data_info import combine
from fl.core.early_stopping import EarlyStopping
from fl.errors import FluffleError
from fl.run.asking import fewest, participants
from fl.run.closing import close_when_complete
from fl.run.commands import (
    Append,
    Close,
    Command,
    CompleteWeights,
    Release,
    SendInit,
    SendJoinReply,
    SendPrivacy,
    SendRound,
    SendStop,
    SetTimer,
    Sweep,
)
from fl.run.ending import end, fail, listing, too_few
from fl.run.events import (
    Cause,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Kind,
    LeaderStarted,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    Status,
    StillWaiting,
    Timer,
)
from fl.run.releases import SPENT, is_spent
from fl.run.state import Phase, RunState

LAST_WORD_S: Final = 5.0
"""A new leader waits at least so long, however late it is, or else as long as the limit is."""


def effects(state: RunState, record: Record) -> tuple[Command, ...]:
    """What to do once `record` is in the log, where `state` includes it already."""
    match record:
        case LeaderStarted() | StillWaiting():
            return ()
        case RoundClosed():
            return close_when_complete(state)
        case ClientsAdmitted():
            return _after_admission(state, tuple(name for name, _ in record.clients))
        case RunInitialised():
            models = (command for client in sorted(state.clients) for command in _model_for(state, client))
            return (*models, await_initialisation(state), *_sweep_after_the_fallen(state))
        case ClientsReady():
            return _after_ready(state)
        case RoundOpened():
            return (*request(state), sweep(state), *close_when_complete(state))  # by chance nobody may be asked
        case RoundCommitted():
            return (Release(), *_set_aside(state, record))
        case ClientsOut():
            return close_when_complete(state)
        case RunPaused():
            return (await_return(state),)
        case ClientsReturned(clients=clients):
            return (*(command for client in clients for command in bring_in(state, client)), *go_on(state))
        case RunEnded():
            return (Release(), *farewell(state))
        case _:
            raise TypeError(f"not a record: {record!r}")


def _after_admission(state: RunState, admitted: tuple[str, ...]) -> tuple[Command, ...]:
    if state.phase is not Phase.PREPARING:
        return welcome(state, admitted)
    if len(admitted) == len(state.clients):
        return (Release(), *prepare(state))
    return tuple(SendJoinReply(name, accepted=True) for name in admitted)  # late, but the model goes to all anyway


def prepare(state: RunState) -> tuple[Command, ...]:
    """After registration: answer everybody, and make the first weights."""
    refusals = tuple(SendJoinReply(name, accepted=False, reason=why) for name, why in sorted(state.refused.items()))
    if not state.clients:
        return (*refusals, fail(state, next(iter(state.refused.values()), "no client joined in time")))
    accepted = tuple(SendJoinReply(name, accepted=True) for name in sorted(state.clients))
    infos = {name: client.data_info for name, client in state.clients.items()}
    return (*refusals, *accepted, SetTimer(Timer.REGISTRATION, None), CompleteWeights(combine(infos)))


def await_initialisation(state: RunState) -> Command:
    return SetTimer(Timer.INITIALISATION, left_s(state, state.spec.run.deadline))


def await_return(state: RunState) -> Command:
    return SetTimer(Timer.PAUSE, left_s(state, state.spec.run.patience_s))


def left_s(state: RunState, limit_s: float | None) -> float | None:
    """What is left of a limit; a new leader has a little time to hear again what was answered before."""
    if limit_s is None:
        return None
    return max(limit_s - state.waited_s, min(limit_s, LAST_WORD_S))


def bring_in(state: RunState, client: str) -> tuple[Command, ...]:
    """Bring a client that is admitted to where the run is."""
    return (SendJoinReply(client, accepted=True), *initialise_again(state, client))


def initialise_again(state: RunState, client: str) -> tuple[Command, ...]:
    """Send a client the model, and what is awaited from it."""
    if state.phase is Phase.PREPARING:
        return ()  # it gets the model with the others
    again = (SendRound(client),) if state.open is not None and client in state.awaiting else ()
    return (*_model_for(state, client), *again)


def welcome(state: RunState, clients: Iterable[str]) -> tuple[Command, ...]:
    """Bring in clients that are admitted but have not built the model."""
    return tuple(
        command for name in clients for command in (SendJoinReply(name, accepted=True), *_model_for(state, name))
    )


def _model_for(state: RunState, client: str) -> tuple[Command, ...]:
    """What a client gets before it can take part in a round."""
    private = state.spec.run.privacy is not None
    return (SendInit(client), SendPrivacy(client)) if private else (SendInit(client),)


def request(state: RunState) -> tuple[Command, ...]:
    """Ask those of the open round who may be in its sum and have not said that they cannot."""
    assert state.open is not None, "only an open round has participants"
    opened = state.open.opened
    deadline = SetTimer(Timer.ROUND, left_s(state, opened.deadline_s))
    timer = deadline if state.paused is None else await_return(state)
    return (*(SendRound(client) for client in state.open.asked if client not in state.out), timer)


def sweep(state: RunState) -> Sweep:
    """Delete what the last commit made useless, and what other leaders wrote of that round in vain."""
    return Sweep(state.garbage, tuple(one for one in state.fallen if one.round == state.trained))


def _sweep_after_the_fallen(state: RunState) -> tuple[Command, ...]:
    return (sweep(state),) if state.fallen else ()


def tell_set_aside(state: RunState, clients: Iterable[str]) -> tuple[Command, ...]:
    """Tell those of these clients that are not asked any more, and why."""
    why = {note.client: note.reason for note in state.lacking}
    aside = [name for name in sorted(clients) if state.clients[name].is_set_aside(state.spec)]
    return tuple(SendJoinReply(name, accepted=False, reason=f"{why[name]}; join again to go on") for name in aside)


def _set_aside(state: RunState, committed: RoundCommitted) -> tuple[Command, ...]:
    return tell_set_aside(state, (note.client for note in committed.dropped if note.cause is Cause.FAILED))


def farewell(state: RunState) -> tuple[Command, ...]:
    """Tell everybody that the run is over, and leave nothing but the log and the final weights."""
    stops = (SendStop(client) for client in sorted({*state.clients, *state.refused}))
    return (SetTimer(Timer.ROUND, None), *stops, Sweep(state.garbage, state.fallen), Close())


def _after_ready(state: RunState) -> tuple[Command, ...]:
    if state.open is not None:
        return ()  # a late joiner: it takes part from the next round on
    return (Release(), *go_on(state))


def go_on(state: RunState) -> tuple[Command, ...]:
    """Between rounds: what comes next, unless it is the pause that is there already."""
    if state.phase is not Phase.RUNNING or state.open is not None:
        return ()
    next_ = following(state)
    return () if state.paused is not None and isinstance(next_, RunPaused) else (Append((next_,)),)


def following(state: RunState) -> Record:
    """The record that comes next in a running run with nothing open: another round, or the end."""
    run = state.spec.run
    evaluates = state.evaluated < state.trained and run.evaluates_after(state.trained)
    stops = run.early_stop is not None and EarlyStopping(**run.early_stop.model_dump()).should_stop(state.losses)
    if stops and not evaluates:
        return end(state, Status.FINISHED, f"early stopping after round {state.trained}")
    if state.trained >= run.rounds and not evaluates:
        return end(state, Status.FINISHED, f"all {run.rounds} rounds done")
    if is_spent(state) and not evaluates:
        return end(state, Status.FINISHED, f"{SPENT} after round {state.trained}")
    least = fewest(state.spec, state.trained)
    if len(state.ready) < least:
        lost = listing(state.lacking)
        return too_few(state, f"{len(state.ready)} of at least {least} clients can take part{lost}")
    return (
        _opening(state, Kind.EVALUATE, state.trained) if evaluates else _opening(state, Kind.TRAIN, state.trained + 1)
    )


def _opening(state: RunState, kind: Kind, round_: int) -> Record:
    try:
        asked = participants(state, kind, round_)
    except FluffleError as error:  # a sampler of others that is not installed here, or chooses wrongly
        return end(state, Status.FAILED, f"no clients could be chosen for round {round_}: {error}")
    return RoundOpened(round_, kind, asked, state.spec.run.deadline)
