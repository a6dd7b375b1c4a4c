"""When what is open is closed: the building of models, or a round."""

from fl.run.asking import enough, needed
from fl.run.commands import Append, Command, Fold
from fl.run.dealing import by_block, is_dealt
from fl.run.ending import end, listing, too_few
from fl.run.events import Cause, ClientsReady, Note, RoundClosed, Status
from fl.run.releases import SPENT, is_noised, is_spent
from fl.run.state import OpenRound, Phase, RunState


def close_when_complete(state: RunState) -> tuple[Command, ...]:
    """Close what is open once nobody is left to wait for, or enough have answered.

    In a pause the time to wait is over, so that as many as the round needs are enough.
    """
    nothing_open = state.open is None and state.phase is not Phase.INITIALISING
    if nothing_open or state.seen.folding:
        return ()
    waits = state.awaiting and not has_enough(state) and state.paused is None
    return () if waits else close(state)


def close(state: RunState) -> tuple[Command, ...]:
    """Go on with those who have answered, if they are as many as it takes."""
    answered = tuple(sorted(state.seen.done))
    if state.open is None:
        terms = tuple((name, state.seen.terms[name]) for name in answered if name in state.seen.terms)
        return (Append((ClientsReady(answered, missing(state, tuple(state.clients)), terms),)),)
    opened = state.open.opened
    least = needed(state.spec, opened)
    if len(answered) >= least:
        return _sum_up(state, state.open, answered)
    if state.paused is not None:
        return ()
    lost = listing(missing(state, opened.participants))
    return (Append((too_few(state, f"{state.open.name}: {len(answered)} of at least {least} replies{lost}"),)),)


def missing(state: RunState, asked: tuple[str, ...]) -> tuple[Note, ...]:
    """Who of those asked has not answered, and why."""
    late = f"not among the first {len(state.seen.done)} to answer" if has_enough(state) else "no answer in time"
    names = sorted(name for name in asked if name not in state.seen.done)
    return tuple(state.out.get(name, Note(name, late, Cause.LATE)) for name in names)


def _sum_up(state: RunState, open_: OpenRound, answered: tuple[str, ...]) -> tuple[Command, ...]:
    """Combine the replies; where shards have them, settle whose they are, and then wait for all their sums.

    That is settled also where the sum gets noise: another leader makes the same sum then, with the same noise.
    """
    opened = open_.opened
    if not (is_dealt(state.spec, opened) or is_noised(state.spec, opened)):
        return (Fold(opened.kind, opened.round, answered),)
    settled = open_.closed == answered
    if is_spent(state, more=0 if settled else 1):
        return (Append((end(state, Status.FINISHED, f"{SPENT} in round {opened.round}, which is left out"),)),)
    if not settled:
        return (Append((RoundClosed(opened.round, answered),)),)
    if is_dealt(state.spec, opened) and state.seen.summed.keys() != by_block(opened, answered).keys():
        return ()
    return (Fold(opened.kind, opened.round, answered),)


def has_enough(state: RunState) -> bool:
    """Whether the open round closes with those who have answered, whoever else may."""
    wanted = None if state.open is None else enough(state.spec, state.open.opened)
    return wanted is not None and len(state.seen.done) >= wanted
