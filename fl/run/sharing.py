"""What the leader makes of what shards tell it of the open training round."""

from dataclasses import replace

from fl.run.closing import close_when_complete, has_enough
from fl.run.commands import Command, Drop, Hold, SendRound, SetTimer
from fl.run.dealing import block_of, by_block, is_dealt
from fl.run.ending import fail
from fl.run.events import RoundOpened, Timer
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.state import OpenRound, RunState

Told = RepliesHeld | RepliesLacking | BlockSummed | SumFailed


def on_shard(state: RunState, event: Told) -> tuple[RunState, tuple[Command, ...]]:
    """What is seen after `event`, and what is to be done about it. What is of another round has no effect."""
    open_ = state.open
    if open_ is None or state.base is None or not is_dealt(state.spec, open_.opened):
        return state, (Drop("no round is open that shards sum"),)
    if (event.round, event.base) != (open_.opened.round, state.base.digest):
        return state, (Drop("its round is not open"),)
    match event:
        case RepliesHeld(clients=clients):
            return _on_held(state, clients)
        case RepliesLacking():
            return _on_lacking(state, open_.opened, event)
        case BlockSummed():
            return _on_summed(state, open_, event)
        case SumFailed(reason=reason):
            return state, (fail(state, reason),)


def _on_held(state: RunState, clients: tuple[str, ...]) -> tuple[RunState, tuple[Command, ...]]:
    """As if each of them had answered here, one after the other."""
    before = state.seen.done
    for client in clients:
        if client in state.wanted and not has_enough(state):
            state = replace(state, seen=state.seen.with_done(client))
    if state.seen.done == before:
        return state, (Drop("answered before, or not asked"),)
    return state, (Hold(), *close_when_complete(state))


def _on_lacking(state: RunState, opened: RoundOpened, event: RepliesLacking) -> tuple[RunState, tuple[Command, ...]]:
    """They are asked again, and have as long as they had; whoever still remembers its answer need not think twice."""
    seen, awaiting = state.seen, state.awaiting if event.queue_lost else frozenset()
    lost = {one for one in event.clients if one in seen.done and block_of(opened, one) not in seen.summed}
    asked = sorted(lost | (awaiting & {*event.clients}))
    if not asked:
        return state, (Drop("what is lacking is in a sum, or awaited already"),)
    state = replace(state, seen=replace(seen, done=seen.done - lost))
    return state, (*map(SendRound, asked), SetTimer(Timer.ROUND, opened.deadline_s))


def _on_summed(state: RunState, open_: OpenRound, event: BlockSummed) -> tuple[RunState, tuple[Command, ...]]:
    seen, parts = state.seen, by_block(open_.opened, open_.asked)
    if event.block in seen.summed:
        return state, (Drop("summed before"),)
    if open_.closed is not None and parts.get(event.block) != event.clients:
        return state, (Drop("a sum of others than those that are to be in it"),)
    state = replace(state, seen=replace(seen, summed={**seen.summed, event.block: event.clients}))
    return state, (Hold(), *close_when_complete(state))
