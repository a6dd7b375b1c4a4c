"""Every decision of a run's leader, as one pure function: `step(state, event) -> (state, commands)`.

There is no clock, no socket and no chance in here. An *input* changes what is `seen` and may ask for records to be
appended; a *record* changes the state and asks for what follows from it. A new leader replays the log, which
performs nothing, and then does what `resume` says: all of it is harmless when it was done before.
"""

from dataclasses import replace

from fl.run.apply import apply
from fl.run.closing import close_when_complete
from fl.run.commands import Command, Drop, Fold, SetTimer
from fl.run.decide import Decision, decide
from fl.run.events import Event, Record, Timer
from fl.run.follow import (
    await_initialisation,
    await_return,
    effects,
    farewell,
    go_on,
    left_s,
    prepare,
    request,
    sweep,
    tell_set_aside,
    welcome,
)
from fl.run.state import Phase, RunState

LOGIC_VERSION = 1
"""Goes up when the same log would lead to other decisions."""


def step(state: RunState, event: Event) -> Decision:
    """What an event makes of a run, and what is to be done about it."""
    if isinstance(event, Record):
        state = apply(state, event)
        commands = effects(state, event)
    elif state.phase is Phase.ENDED:
        return state, (Drop("the run is over"),)
    else:
        state, commands = decide(state, event)
    if any(isinstance(command, Fold) for command in commands):
        state = replace(state, seen=replace(state.seen, folding=True))
    return state, commands


def resume(state: RunState) -> tuple[Command, ...]:
    """What a new leader does after replaying the log."""
    match state.phase:
        case Phase.REGISTERING:
            return (SetTimer(Timer.REGISTRATION, left_s(state, state.spec.run.registration.timeout)),)
        case Phase.PREPARING:
            return prepare(state)
        case Phase.INITIALISING:
            return (*_welcome_the_rest(state), await_initialisation(state), *close_when_complete(state))
        case Phase.ENDED:
            return farewell(state)
    told = (*tell_set_aside(state, state.clients), *_welcome_the_rest(state))
    if state.open is not None:
        return (*told, *request(state), sweep(state), *close_when_complete(state))
    waits = (await_return(state),) if state.paused is not None else ()
    return (*told, *waits, *go_on(state))


def _welcome_the_rest(state: RunState) -> tuple[Command, ...]:
    """Bring in those of whom it is not known yet whether they can take part."""
    unknown = (name for name, one in state.clients.items() if not one.ready and one.problem is None)
    return welcome(state, sorted(name for name in unknown if name not in state.out))
