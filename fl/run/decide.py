"""What the leader makes of what it observes: each input changes what is `seen` and may ask for a record."""

from dataclasses import replace
from typing import Final

from fl.core.data_info import combine, fits
from fl.errors import DataError
from fl.run.agreement import in_agreement
from fl.run.apply import apply
from fl.run.asking import enough
from fl.run.closing import close, close_when_complete, missing
from fl.run.commands import Append, Command, Drop, Hold, SendJoinReply, SendRound
from fl.run.ending import end, fail
from fl.run.events import (
    CancelAsked,
    Cause,
    ClientFailed,
    ClientsAdmitted,
    ClientsGone,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Folded,
    InitAnswered,
    Input,
    JoinAsked,
    Note,
    Replied,
    ResumeAsked,
    RoundCommitted,
    RunInitialised,
    RunPaused,
    StartFailed,
    Status,
    StillWaiting,
    TimePassed,
    Timer,
    TimeUp,
    Trouble,
    UpdateUnusable,
    WeightsCompleted,
)
from fl.run.follow import bring_in, following, initialise_again
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.sharing import on_shard
from fl.run.state import Phase, RunState
from fl.run.terms import PrivacySettled, Terms

Decision = tuple[RunState, tuple[Command, ...]]

MOST_LOSSES: Final = 3
"""Times that a client is sent the model again while a round is open, or while models are built."""

FIRST_WORD_S: Final = 5.0
"""After so long it is logged that something is still awaited; then each time that it has taken twice as long."""
MOST_SILENCE_S: Final = 600.0
"""Nor is it longer than this until it is logged again."""


def decide(state: RunState, event: Input) -> Decision:
    """What is seen after `event`, and what is to be done about it."""
    match event:
        case JoinAsked():
            return _on_join(state, event)
        case InitAnswered() if state.spec.run.privacy is not None:
            return state, ()  # it has still to say how it trains privately
        case InitAnswered(client=client):
            return _on_init(state, client, None)
        case PrivacySettled(client=client, terms=terms):
            return _on_init(state, client, terms)
        case Replied():
            return _on_reply(state, event)
        case UpdateUnusable():
            return _on_unusable(state, event)
        case RepliesHeld() | RepliesLacking() | BlockSummed() | SumFailed():
            return on_shard(state, event)
        case ClientFailed():
            return _on_failure(state, event)
        case ClientsGone(clients=clients):
            return _on_gone(state, clients)
        case TimeUp(timer=timer):
            return state, _on_time_up(state, timer)
        case TimePassed(seconds=seconds):
            return _on_time_passed(state, seconds)
        case ResumeAsked():
            return _on_resume(state)
        case CancelAsked(reason=reason):
            return state, _on_cancel(state, reason)
        case WeightsCompleted() | StartFailed() if state.phase is not Phase.PREPARING:
            return state, (Drop("no weights are being made"),)
        case WeightsCompleted():
            return state, (Append((_initialised(state, event),)),)
        case StartFailed(reason=reason):
            return state, (fail(state, reason),)
        case Folded() if not state.seen.folding:
            return state, (Drop("nothing is being folded"),)
        case Folded():
            return state, _on_folded(state, event)
        case _:
            raise TypeError(f"not an event: {event!r}")


# ---- joining --------------------------------------------------------------------------------------------------------


def _on_join(state: RunState, event: JoinAsked) -> Decision:
    problem = event.problem or _misfit(state, event)
    if problem is not None:
        return state, (SendJoinReply(event.client, accepted=False, reason=problem),)
    if state.phase is not Phase.REGISTERING:
        return _on_return(state, event.client) if event.client in state.clients else (state, (_admit_late(event),))
    joining = {**state.seen.joining, event.client: event.data_info}
    state = replace(state, seen=replace(state.seen, joining=joining))
    return state, (Hold(), *_close_registration(state, timed_out=False))


def _misfit(state: RunState, event: JoinAsked) -> str | None:
    """Why this client cannot take part in a run that has started; None if it can."""
    if state.phase is Phase.REGISTERING:
        return None
    register, late = state.spec.run.registration, event.client not in state.clients
    if late and not state.spec.run.late_join:
        return "registration is closed, and the run takes no late joiners"
    unable = not late and state.clients[event.client].problem is not None
    if (late or unable) and _is_full(state):
        return f"the run has its {register.max_clients} clients"
    agreed = state.data_info or combine({name: client.data_info for name, client in state.clients.items()})
    try:
        fits(event.data_info, agreed)
    except DataError as error:
        return str(error)
    return None


def _admit_late(event: JoinAsked) -> Command:
    return Append((ClientsAdmitted(((event.client, event.data_info),)),))


def _is_full(state: RunState) -> bool:
    """Whether the run has all its clients; whoever could not build the model leaves its place to another."""
    most = state.spec.run.registration.max_clients
    return most is not None and sum(client.problem is None for client in state.clients.values()) >= most


def _on_return(state: RunState, client: str) -> Decision:
    """Bring a daemon that was restarted to where the run is, whatever was held against it."""
    if _is_given_up(state, client):
        return state, (Append((ClientsReturned((client,)),)),)
    if state.phase is not Phase.PREPARING:
        state = replace(state, seen=state.seen.with_fresh(client))
    return state, bring_in(state, client)


def _is_given_up(state: RunState, name: str) -> bool:
    client = state.clients[name]
    return name in state.out or client.away or client.is_set_aside(state.spec)


def _close_registration(state: RunState, *, timed_out: bool) -> tuple[Command, ...]:
    register, joining = state.spec.run.registration, state.seen.joining
    full = register.max_clients is not None and len(joining) >= register.max_clients
    enough = register.max_clients is None and register.timeout is None and len(joining) >= register.min_clients
    if timed_out and len(joining) < register.min_clients:
        reason = f"{len(joining)} of at least {register.min_clients} clients joined within {register.timeout:g} s"
        return (_refuse_all(state, reason),)
    if not (full or enough or timed_out):
        return ()
    try:
        fitting, odd = in_agreement(joining)
        if len(fitting) < register.min_clients:
            combine(joining)  # says who has what
    except DataError as error:
        return (_refuse_all(state, str(error)),)
    return (Append((ClientsAdmitted(tuple(fitting.items()), odd),)),)


def _refuse_all(state: RunState, reason: str) -> Command:
    return Append((ClientsAdmitted((), tuple(Note(client, reason) for client in sorted(state.seen.joining))),))


def _initialised(state: RunState, event: WeightsCompleted) -> RunInitialised:
    return RunInitialised(event.data_info, event.weights, event.aux, fixed=state.fixed, sent_weights=event.sent_weights)


def _on_cancel(state: RunState, reason: str) -> tuple[Command, ...]:
    """Whoever waits to be admitted is answered here: the log, and so the farewell, does not know of them."""
    why = f"the run was cancelled: {reason}"
    refusals = (SendJoinReply(client, accepted=False, reason=why) for client in sorted(state.seen.joining))
    return (*refusals, Append((end(state, Status.CANCELLED, reason),)))


# ---- answers --------------------------------------------------------------------------------------------------------


def _on_init(state: RunState, client: str, terms: Terms | None) -> Decision:
    if client not in state.clients:
        return state, (Drop("initialised without being admitted"),)
    if state.phase is Phase.PREPARING:
        return state, (Drop("initialised without being asked to"),)
    told = {} if terms is None else {client: terms}
    sent = state.seen.sent - {client}
    state = replace(state, seen=replace(state.seen, sent=sent, terms={**state.seen.terms, **told}))
    if state.phase is Phase.INITIALISING:
        state = replace(state, seen=state.seen.with_done(client))
        return state, (Hold(), *close_when_complete(state))
    if state.clients[client].ready:
        return state, ()
    if state.clients[client].problem is not None and _is_full(state):
        return state, (Drop("another client has its place"),)
    return state, (Append((ClientsReady((client,), terms=tuple(told.items())),)),)


def _on_reply(state: RunState, event: Replied) -> Decision:
    open_ = state.open
    if open_ is None or (event.round, event.kind) != (open_.opened.round, open_.opened.kind):
        return state, (Drop("its round is not open"),)
    if event.client not in state.wanted:
        return state, (Drop("answered before, or not asked"),)
    if state.base is None or event.base != state.base.digest:
        return state, (Drop("started from other weights than the committed ones"),)
    if event.problem is not None:
        return state, (_give_up(event.client, event.problem),)
    state = replace(state, seen=state.seen.with_done(event.client))
    return state, (Hold(), *close_when_complete(state))


def _on_unusable(state: RunState, event: UpdateUnusable) -> Decision:
    """It is asked for it once more, where there is time; then it has failed. What was being folded is begun anew."""
    client, seen = event.client, state.seen
    if client not in seen.done:
        return state, (Drop("it is not part of the round"),)
    closed = seen.folding or (state.open is not None and state.open.closed is not None)
    again = event.again and client not in seen.asked_again and (not closed or _waits_for_all(state))
    seen = replace(seen, done=seen.done - {client}, folding=False)
    if not again:
        return replace(state, seen=seen), (_give_up(client, event.problem),)
    state = replace(state, seen=replace(seen, asked_again=seen.asked_again | {client}))
    return state, (SendRound(client, edition=1),)


def _waits_for_all(state: RunState) -> bool:
    """Whether the open round closes only when everybody has answered, however long that takes."""
    opened = state.open.opened if state.open is not None else None
    return opened is not None and opened.deadline_s is None and enough(state.spec, opened) is None


def _on_failure(state: RunState, event: ClientFailed) -> Decision:
    if event.client not in state.clients:
        return state, (Drop("not admitted"),)
    if event.trouble is Trouble.UNINITIALISED:
        return _on_lost_model(state, event.client)
    state = replace(state, seen=replace(state.seen, sent=state.seen.sent - {event.client}))
    if event.client not in state.awaiting or not _is_current(state, event):
        return state, (Drop("nothing was awaited from it"),)
    cause = Cause.REFUSED if event.trouble is Trouble.REFUSED else Cause.FAILED
    return state, (_give_up(event.client, event.text, cause),)


def _give_up(client: str, reason: str, cause: Cause = Cause.FAILED) -> Command:
    """Whoever cannot answer is not asked again in this round, by whoever leads, unless it joins again."""
    return Append((ClientsOut((Note(client, reason, cause),)),))


def _on_lost_model(state: RunState, client: str) -> Decision:
    """It gets the model and the request again, but not without end: who keeps losing it is out of this round.

    A daemon that was restarted says so of each request that it finds in its queue: that is one loss.
    """
    if client in state.seen.sent:
        return state, (Drop("it is being sent the model already"),)
    state = replace(state, seen=state.seen.with_lost(client))
    if state.seen.lost[client] <= MOST_LOSSES:
        return state, initialise_again(state, client)
    if client not in state.awaiting:
        return state, (Drop("it loses the model whenever it gets it"),)
    return state, (_give_up(client, f"it lost the model {MOST_LOSSES + 1} times"),)


def _is_current(state: RunState, failure: ClientFailed) -> bool:
    """Whether it is about what the run does now: a training and its evaluation share a number, but not their base."""
    if not failure.round:
        return True
    if state.open is None or state.base is None:
        return False
    return (failure.round, failure.base) == (state.open.opened.round, state.base.digest)


def _on_gone(state: RunState, clients: tuple[str, ...]) -> Decision:
    reason = "gone: nobody has consumed its queue for a while"
    gone = tuple(Note(client, reason, Cause.GONE) for client in clients if client in state.awaiting)
    return state, (Append((ClientsOut(gone),)),) if gone else ()


# ---- waiting --------------------------------------------------------------------------------------------------------


def _on_time_passed(state: RunState, seconds: float) -> Decision:
    """Log now and then that something is still awaited: people see it, and a new leader waits for what is left."""
    registering = state.phase is Phase.REGISTERING
    if not (registering or state.wanted or state.paused is not None):
        return state, ()
    state = replace(state, seen=replace(state.seen, passed_s=state.seen.passed_s + seconds))
    if state.seen.passed_s < min(max(FIRST_WORD_S, state.waited_s), MOST_SILENCE_S):
        return state, ()
    seen = state.seen
    answered = seen.joining if registering else seen.done
    waited_s = state.waited_s + seen.passed_s
    return state, (Append((StillWaiting(waited_s, tuple(sorted(answered)), tuple(sorted(state.awaiting))),)),)


def _on_resume(state: RunState) -> Decision:
    """Ask everybody again that a paused run could go on with, whatever was held against them."""
    reason = None if state.seen.folding else state.paused
    if reason is None:
        return state, (Drop("the run is not paused"),)
    given_up = tuple(name for name in sorted(state.clients) if _is_given_up(state, name))
    unable = sorted({name for name, client in state.clients.items() if client.problem is not None} - {*given_up})
    asked = tuple(command for name in unable for command in initialise_again(state, name))
    returned = (ClientsReturned(given_up),) if given_up else ()
    return state, (*asked, Append((RunPaused(reason), *returned)))


# ---- closing --------------------------------------------------------------------------------------------------------


def _on_time_up(state: RunState, timer: Timer) -> tuple[Command, ...]:
    if timer is Timer.REGISTRATION and state.phase is Phase.REGISTERING:
        return _close_registration(state, timed_out=state.spec.run.registration.timeout is not None)
    if timer is Timer.INITIALISATION and state.phase is Phase.INITIALISING:
        return close(state)
    if timer is Timer.ROUND and state.open is not None and not state.seen.folding:
        return close(state)
    if timer is Timer.PAUSE and state.paused is not None and not state.seen.folding:
        return (fail(state, f"{state.paused}; nobody came back within {state.spec.run.patience_s:g} s"),)
    return ()


def _on_folded(state: RunState, event: Folded) -> tuple[Command, ...]:
    assert state.open is not None, "what is being folded stays open until it is committed"
    opened = state.open.opened
    committed = RoundCommitted(
        opened.round,
        opened.kind,
        event.participants,
        missing(state, opened.participants),
        weights=event.weights,
        server_state=event.server_state,
        loss=event.loss,
        metrics=event.metrics,
        note=event.note,
        aux=event.aux,
        sent_weights=event.sent_weights,
        clip_norm=event.clip_norm,
    )
    return (Append((committed, following(apply(state, committed)))),)
