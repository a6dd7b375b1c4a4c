"""What follows from a decision: the commands after each record, and the record that comes next."""

from collections.abc import Iterable

from fl.core.data_info import combine
from fl.core.early_stopping import EarlyStopping
from fl.errors import FluffleError
from fl.run.asking import participants
from fl.run.commands import (
    Append,
    Close,
    Command,
    CompleteWeights,
    Release,
    SendInit,
    SendJoinReply,
    SendRound,
    SendStop,
    SetTimer,
    Sweep,
)
from fl.run.events import (
    ClientsAdmitted,
    ClientsReady,
    Kind,
    LeaderStarted,
    Note,
    Record,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    Status,
    Timer,
)
from fl.run.state import Phase, RunState


def effects(state: RunState, record: Record) -> tuple[Command, ...]:
    """What to do once `record` is in the log, where `state` includes it already."""
    match record:
        case LeaderStarted():
            return ()
        case ClientsAdmitted():
            return _after_admission(state, tuple(name for name, _ in record.clients))
        case RunInitialised():
            return (*(SendInit(client) for client in sorted(state.clients)), await_initialisation(state))
        case ClientsReady():
            return _after_ready(state)
        case RoundOpened():
            return (*request(record), Sweep(state.garbage))
        case RoundCommitted():
            return (Release(),)
        case RunEnded():
            return (Release(), *farewell(state))
        case _:
            raise TypeError(f"not a record: {record!r}")


def _after_admission(state: RunState, admitted: tuple[str, ...]) -> tuple[Command, ...]:
    if state.phase is not Phase.PREPARING:
        return welcome(admitted)
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
    return SetTimer(Timer.INITIALISATION, state.spec.run.deadline)


def welcome(clients: Iterable[str]) -> tuple[Command, ...]:
    """Bring in clients that are admitted but have not built the model."""
    return tuple(command for name in clients for command in (SendJoinReply(name, accepted=True), SendInit(name)))


def request(opened: RoundOpened) -> tuple[Command, ...]:
    """Ask the participants of a round."""
    return (*(SendRound(client) for client in opened.participants), SetTimer(Timer.ROUND, opened.deadline_s))


def farewell(state: RunState) -> tuple[Command, ...]:
    """Tell everybody that the run is over, and leave nothing but the log and the final weights."""
    stops = (SendStop(client) for client in sorted({*state.clients, *state.refused}))
    return (SetTimer(Timer.ROUND, None), *stops, Sweep(state.garbage), Close())


def _after_ready(state: RunState) -> tuple[Command, ...]:
    if state.open is not None or state.trained:
        return ()  # a late joiner: it takes part from the next round on
    return (Release(), Append((following(state),)))


def following(state: RunState) -> Record:
    """The record that comes next in a running run with nothing open: another round, or the end."""
    run = state.spec.run
    needed = run.registration.min_clients
    if len(state.ready) < needed:
        lost = listing(state.unready)
        return end(state, Status.FAILED, f"{len(state.ready)} of at least {needed} clients could be initialised{lost}")
    if state.evaluated < state.trained and run.evaluates_after(state.trained):
        return _opening(state, Kind.EVALUATE, state.trained)
    if run.early_stop is not None and EarlyStopping(**run.early_stop.model_dump()).should_stop(state.losses):
        return end(state, Status.FINISHED, f"early stopping after round {state.trained}")
    if state.trained >= run.rounds:
        return end(state, Status.FINISHED, f"all {run.rounds} rounds done")
    return _opening(state, Kind.TRAIN, state.trained + 1)


def _opening(state: RunState, kind: Kind, round_: int) -> Record:
    try:
        asked = participants(state, kind, round_)
    except FluffleError as error:  # a sampler of others that is not installed here, or chooses wrongly
        return end(state, Status.FAILED, f"no clients could be chosen for round {round_}: {error}")
    return RoundOpened(round_, kind, asked, state.spec.run.deadline)


def end(state: RunState, status: Status, reason: str) -> RunEnded:
    """The last record, with the weights that the run leaves."""
    best_round, weights = state.final_weights
    return RunEnded(status, reason, best_round, weights)


def fail(state: RunState, reason: str) -> Append:
    return Append((end(state, Status.FAILED, reason),))


def listing(notes: tuple[Note, ...]) -> str:
    """Each reason once, after the clients that gave it."""
    clients: dict[str, list[str]] = {}
    for note in notes:
        clients.setdefault(note.reason, []).append(note.client)
    return "".join(f"; {', '.join(names)}: {reason}" for reason, names in clients.items())
