"""What keeps a run from going on, in sentences, and what to do about it. Facts and time come as arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.base import QueueCount
from broker.topology import client_queue, run_queue
from fl.cli.frame import few, status
from fl.cli.times import duration, moment
from fl.cli.view import View
from fl.run.asking import needed
from fl.run.decide import FIRST_WORD_S, MOST_SILENCE_S
from fl.run.events import Cause, Note
from fl.run.state import Phase
from fl.run.step import LOGIC_VERSION
from fl.submit.register import Entry

SOON_S: Final = 60.0
"""Until then it is no wonder that nothing has happened; nor are clocks that differ by so much."""
START_DAEMON: Final = "start the daemon there: `fluffle client FILE`"
MANY_LEADERS: Final = 5
"""So many changes of the lead since a run last got on are no chance."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about a run, and what a person can do; nothing where nothing need be done."""

    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A run, as all that is on the broker tells."""

    entry: Entry
    view: View
    queue: QueueCount | None
    """Of its leader; None where there is none."""
    clients: Mapping[str, QueueCount | None]
    """The queues of those clients of whom something is awaited."""
    dead: int = 0
    """Dead letters of this run."""
    trouble: Finding | None = None
    """Why the log is not all here."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about a run, the worst first."""

    run: str
    state: str
    waits_s: float
    """How long nothing has got on."""
    verdict: str
    """In a line: what is worst, or else what goes on."""
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return not any(finding.todo for finding in self.findings)


def diagnose(facts: Facts, *, now: float) -> Diagnosis:
    """Everything there is to say about a run; `now` in seconds since the epoch."""
    found = tuple(_over(facts) if _is_over(facts) else _open(facts, now))
    dead = (_dead(facts),) if facts.dead else ()
    ordered = tuple(sorted((*found, *dead), key=lambda finding: not finding.todo))
    state, waits_s = _state(facts), 0.0 if _is_over(facts) else _waits_s(facts, now)
    trouble = ordered[0].what if ordered[0].todo and facts.view.state.paused is None else state
    return Diagnosis(facts.entry.run, state, waits_s, trouble, ordered)


def _is_over(facts: Facts) -> bool:
    return facts.entry.closed is not None or facts.view.end is not None


def _state(facts: Facts) -> str:
    closed = facts.entry.closed
    return status(facts.view) if closed is None else f"{closed.status.value}: {closed.reason}"


def _waits_s(facts: Facts, now: float) -> float:
    since = facts.view.wait.paused_at or facts.view.wait.since or facts.entry.submitted.at
    return max(0.0, now - since)


def _over(facts: Facts) -> Iterator[Finding]:
    yield Finding(f"it is over, {_state(facts)}")


def _open(facts: Facts, now: float) -> Iterator[Finding]:
    if facts.trouble is not None:
        yield facts.trouble
    yield from _leader(facts, now)
    yield from _clock(facts.view, now)
    state = facts.view.state
    if state.paused is not None:
        yield _paused(facts.view, now)
    if state.phase is Phase.REGISTERING and state.leader:
        yield _registering(facts.view, now)
    yield from _awaited(facts, now)
    yield from _limits(facts.view, now)
    yield from (_out(note, facts.clients.get(name)) for name, note in sorted(state.out.items()))
    yield from (_lacking(note, facts.clients.get(note.client)) for note in state.lacking)


# ---- who leads ------------------------------------------------------------------------------------------------------


def _leader(facts: Facts, now: float) -> Iterator[Finding]:
    view, queue = facts.view, facts.queue
    if queue is None:
        yield Finding(
            f"its queue {run_queue(view.run)} does not exist, so that nobody can lead it, and no end was announced",
            "look again in a minute; if it stays so, somebody deleted the queue: submit the run again",
        )
        return
    newest = max((lead.logic_version for lead in view.leads), default=LOGIC_VERSION)
    if newest > LOGIC_VERSION:
        yield Finding(
            f"it was led by the rules of version {newest}, and those of this release are of version {LOGIC_VERSION}: "
            "workers of this release stand back from it, and what is said here may be wrong",
            "look at it, and lead it, with the newer release",
        )
    if queue.consumers == 0:
        yield _nobody_leads(view, queue, now)
    elif not view.leads:
        yield Finding("a worker stands by, and has not led it yet")
    else:
        yield from _led(view, queue, now)


def _nobody_leads(view: View, queue: QueueCount, now: float) -> Finding:
    last = f"; {view.worker} was the last, and its last word came {_ago(view.at, now)}" if view.worker else ""
    waiting = f"; messages that wait for a leader: {queue.messages}" if queue.messages > 1 else ""  # one is the baton
    return Finding(
        f"nobody leads it: no worker consumes {run_queue(view.run)}{last}{waiting}",
        "start a worker: `fluffle server`; if one runs, its log says why it left this run to others",
    )


def _led(view: View, queue: QueueCount, now: float) -> Iterator[Finding]:
    lead, changes = view.leads[-1], len(view.leads) - 1
    changed = f"; the lead has changed {changes} {'time' if changes == 1 else 'times'}" if changes else ""
    yield Finding(f"{lead.worker} leads it since {moment(lead.at)} ({_ago(lead.at, now)}){changed}")
    since = view.wait.since or 0.0
    lately = sum(one.at >= since for one in view.leads)
    if lately > MANY_LEADERS:
        yield Finding(
            f"{lately} leaders have begun since it last got on",
            "the logs of its workers say what ends them (handling_failed, broker_lost, leading_again)",
        )
    silent_s = now - max(view.at or 0.0, lead.at)
    if silent_s > 2 * _silence_s(view) + SOON_S:
        yield Finding(
            f"its leader has said nothing for {duration(silent_s)}; messages that wait for it: {queue.messages}",
            f"look after {lead.worker}: it hangs, is stopped, or works on something very long; if it is ended, another "
            "worker takes over",
        )


def _silence_s(view: View) -> float:
    """How long a leader may say nothing while something is awaited."""
    return min(max(FIRST_WORD_S, view.wait.waited_s), MOST_SILENCE_S)


def _clock(view: View, now: float) -> Iterator[Finding]:
    if view.at is not None and view.at > now + SOON_S:
        yield Finding(
            f"the clock of {view.worker} is {duration(view.at - now)} ahead of this machine's: times here are wrong",
            "set the clocks; the run does not go by them",
        )


# ---- what is awaited ------------------------------------------------------------------------------------------------


def _paused(view: View, now: float) -> Finding:
    wait = view.wait
    assert wait.paused_at is not None, "called of a paused run"
    left_s = max(0.0, view.spec.run.patience_s - wait.lasted_s(now))
    return Finding(
        f"it is paused since {moment(wait.paused_at)} ({_ago(wait.paused_at, now)}); unless enough clients come back "
        f"it fails in {duration(left_s)}",
        f"start the daemons of the clients that are missing; `fluffle resume {view.run}` asks again those that are "
        f"there; `fluffle cancel {view.run}` ends it, and its best weights stay",
    )


def _registering(view: View, now: float) -> Finding:
    registration, joined = view.spec.run.registration, sorted(view.wait.answered)
    names = f": {few(joined)}" if joined else ""
    timeout = "" if registration.timeout is None else f" of {duration(registration.timeout)}"
    lasted_s = view.wait.lasted_s(now)
    return Finding(
        f"it has waited for clients for {duration(lasted_s)}{timeout}: {len(joined)} of at least "
        f"{registration.min_clients} have joined{names}",
        ""
        if lasted_s < SOON_S
        else "start daemons at more sites: `fluffle client FILE`; their logs say what keeps them out",
    )


def _awaited(facts: Facts, now: float) -> Iterator[Finding]:
    """Clients of whom the same can be said are in one sentence."""
    view = facts.view
    lasted = duration(view.wait.lasted_s(now))
    groups: dict[tuple[str, str], list[str]] = {}
    for client in view.wait.awaited(view.state):
        groups.setdefault(_of_awaited(client, facts.clients.get(client)), []).append(client)
    for (what, todo), clients in groups.items():
        yield Finding(f"{few(clients)} {'is' if len(clients) == 1 else 'are'} awaited for {lasted}: {what}", todo)


def _of_awaited(client: str, queue: QueueCount | None) -> tuple[str, str]:
    if queue is None:
        return "no queue of that name: never connected to this broker, or not enrolled", START_DAEMON
    waiting = f"; requests that wait in {client_queue(client)}: {queue.messages}" if queue.messages else ""
    if queue.consumers == 0:
        return f"no daemon of that name is connected{waiting}", START_DAEMON
    return f"the daemon is connected, and at work{waiting}", ""


def _limits(view: View, now: float) -> Iterator[Finding]:
    """What ends the wait for an open round without anybody's doing."""
    state = view.state
    if state.open is None or state.paused is not None or not view.wait.awaited(state):
        return
    opened, gone_after = state.open.opened, duration(state.spec.run.gone_after)
    least = needed(state.spec, opened)
    answered = f"{len(view.wait.answered)} of {len(opened.participants)} have answered, at least {least} must"
    if opened.deadline_s is None:
        yield Finding(f"{answered}; there is no deadline; whoever has no daemon for {gone_after} is not waited for")
        return
    left = duration(max(0.0, opened.deadline_s - view.wait.lasted_s(now)))
    yield Finding(f"{answered}; the round closes in {left} with those that have; with fewer the run pauses")


def _out(note: Note, queue: QueueCount | None) -> Finding:
    if note.cause is Cause.GONE:
        return _gone(note.client, "is not waited for", queue)
    return Finding(
        f"{note.client} is not waited for in this round: {note.reason}",
        "mend at that site what it says, and start its daemon again if it goes on",
    )


def _lacking(note: Note, queue: QueueCount | None) -> Finding:
    if note.cause is Cause.GONE:
        return _gone(note.client, "takes no part", queue)
    return Finding(
        f"{note.client} takes no part: {note.reason}",
        "mend at that site what it says, then start its daemon again: that makes it join again",
    )


def _gone(client: str, what: str, queue: QueueCount | None) -> Finding:
    if queue is not None and queue.consumers:
        return Finding(f"{client} was away, and is connected again: it takes part once it has joined")
    return Finding(f"{client} {what}: no daemon of that name is connected", START_DAEMON)


# ---- words ----------------------------------------------------------------------------------------------------------


def _dead(facts: Facts) -> Finding:
    letters = "letter is" if facts.dead == 1 else "letters are"
    return Finding(
        f"{facts.dead} dead {letters} of this run",
        f"`fluffle dead list --run {facts.entry.run}` says what died of what; then `fluffle dead requeue` or `drop`",
    )


def _ago(at: float | None, now: float) -> str:
    return "never" if at is None else f"{duration(max(0.0, now - at))} ago"
