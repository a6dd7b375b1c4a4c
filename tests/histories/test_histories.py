"""The log of a run means the same to every release: the same state, and the same decisions.

What fails here is a change that would go unseen in new runs, and break those that an older worker began.
`tests.histories.record` says when a history may be recorded anew.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final, get_args

import pytest

from broker.base import Message
from fl.run.commands import Append
from fl.run.dealing import by_block
from fl.run.ending import end
from fl.run.events import (
    ClientsOut,
    Input,
    Kind,
    LeaderStarted,
    Record,
    Replied,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunPaused,
    Status,
)
from fl.run.follow import effects, following
from fl.run.shard_events import BlockSummed, RepliesHeld
from fl.run.state import Client, Phase, RunState
from fl.run.step import LOGIC_VERSION, resume, step
from fl.wire.records import read_record, write_record
from tests.histories.durable import client_told, durable
from tests.histories.history import FOLDER, History, Moment, file_of
from tests.histories.scenes import SCENES
from tests.unit.run.audit import Audit
from tests.unit.run.driver import Happening, Leader, Letter, Logged
from tests.unit.run.state_check import check_state

HISTORIES: Final = {path.stem: History.load(path) for path in sorted(FOLDER.glob("*.json"))}
OF_TODAY: Final = {file_of(scene, LOGIC_VERSION).stem for scene in SCENES} & HISTORIES.keys()

every_history = pytest.mark.parametrize("name", HISTORIES)
every_history_of_today = pytest.mark.parametrize("name", sorted(OF_TODAY))


# ---- what there is ---------------------------------------------------------------------------------------------------


def test_every_scene_was_recorded_by_the_rules_of_today() -> None:
    missing = {file_of(scene, LOGIC_VERSION).stem for scene in SCENES} - HISTORIES.keys()
    assert not missing, "run `python -m tests.histories.record`"
    for name in OF_TODAY:
        leads = [one.record for one in HISTORIES[name].replay() if isinstance(one.record, LeaderStarted)]
        assert {lead.logic_version for lead in leads} == {LOGIC_VERSION}, name


def test_every_kind_of_record_is_in_a_history() -> None:
    recorded = {type(moment.record) for name in OF_TODAY for moment in HISTORIES[name].moments()}

    assert recorded == set(get_args(Record))


def test_every_status_a_run_can_end_with_is_in_a_history() -> None:
    ends = [HISTORIES[name].moments()[-1].record for name in OF_TODAY]

    assert {one.status for one in ends if isinstance(one, RunEnded)} == set(Status)


def test_a_history_holds_records_that_do_not_count() -> None:
    assert any(not moment.counts for name in OF_TODAY for moment in HISTORIES[name].replay())


# ---- what a log means ------------------------------------------------------------------------------------------------


@every_history
def test_a_history_replays_to_the_digests_it_was_recorded_with(name: str) -> None:
    history = HISTORIES[name]

    assert history.digested() == history.digests


def test_the_digest_covers_every_part_of_the_state_that_is_in_the_log() -> None:
    # Given: all that is told of any state
    moments = [moment for history in HISTORIES.values() for moment in history.moments()]
    told = {part for moment in moments for part in durable(moment.state)}
    told_of_clients = {
        part for moment in moments for client in moment.state.clients.values() for part in client_told(client)
    }

    # Then: it is all that there is, but for what comes from elsewhere
    not_in_the_log = {"run", "spec", "seen", "secret"}
    assert told == {one.name for one in fields(RunState)} - not_in_the_log
    assert told_of_clients == {one.name for one in fields(Client)}


@every_history
def test_a_history_is_unchanged_when_it_is_read_and_written_again(name: str) -> None:
    for entry in HISTORIES[name].entries:
        stored = entry.SerializeToString()
        _, record = read_record(Message(stored))

        again = write_record(entry.leader, record, number=entry.number, now=entry.at)

        assert bytes(again.body) == stored


# ---- what is decided -------------------------------------------------------------------------------------------------


def due(moment: Moment) -> Record | None:
    """The record that comes next, whatever is observed meanwhile, unless another one takes over."""
    state, record = moment.state, moment.record
    match record:
        case RoundCommitted():
            return following(state)
        case ClientsOut():
            return None  # whether anything closes now depends on who has answered
        case LeaderStarted():
            commands = resume(state)
        case _:
            commands = effects(state, record)
    return next((command.records[0] for command in commands if isinstance(command, Append)), None)


def follows(state: RunState, record: Record) -> bool:
    """Whether a record that was written in this state can only be there since it was due."""
    match record:
        case RoundOpened() | RunEnded(status=Status.FINISHED):
            return True
        case RunPaused():
            return state.open is None and state.paused is None
    return False


@every_history_of_today
def test_what_follows_from_the_log_alone_is_what_came_next(name: str) -> None:
    for moment, next_ in itertools.pairwise(HISTORIES[name].moments()):
        expected = due(moment)
        if isinstance(next_.record, LeaderStarted):
            continue
        if expected is not None or follows(moment.state, next_.record):
            assert next_.record == expected


@every_history_of_today
def test_a_run_leaves_the_weights_that_its_log_tells(name: str) -> None:
    before, last = HISTORIES[name].moments()[-2:]

    assert isinstance(last.record, RunEnded)
    assert last.record == end(before.state, last.record.status, last.record.reason)


@every_history_of_today
def test_there_is_something_to_decide_from_the_log_alone(name: str) -> None:
    assert any(due(moment) for moment in HISTORIES[name].moments())


@every_history
def test_a_history_may_be_taken_over_after_each_of_its_records(name: str) -> None:
    history = HISTORIES[name]
    log = [(moment.leader, moment.record) for moment in history.replay()]
    for n_records in range(len(log) + 1):
        # Given
        audit = Audit(history.submitted.spec, history.submitted.weights)
        for happening in told_by(history, n_records):
            audit.watch(happening)
        successor = Leader("successor", history.empty, log[:n_records], trace=[])
        # When
        successor.start()
        # Then
        for happening in successor.trace:
            audit.watch(happening)
        check_state(successor)
        assert is_alive(successor)


def is_alive(leader: Leader) -> bool:
    """Whether a leader has closed the run, or there is something that it waits for."""
    state = leader.state
    waits = state.phase is Phase.REGISTERING or state.paused is not None or bool(state.awaiting)
    return leader.closed or waits or bool(leader.tasks)


def told_by(history: History, n_records: int) -> Iterator[Happening]:
    """What must have happened up to there: the records, what followed from them, and the replies that were counted."""
    state = history.empty
    for moment in itertools.islice(history.replay(), n_records):
        if not moment.counts:
            continue
        record = moment.record
        if isinstance(record, RoundClosed):
            yield from (Letter(one) for one in held(state, record))
        elif isinstance(record, RoundCommitted):
            yield from counted(state, record)
        yield Logged(moment.leader, record)
        state, commands = step(state, record)
        commands = resume(state) if isinstance(record, LeaderStarted) else commands
        yield from (command for command in commands if not isinstance(command, Append))


def held(state: RunState, closed: RoundClosed) -> Iterable[Input]:
    assert state.weights is not None, "rounds start from weights"
    base = state.weights.digest
    if state.spec.run.shards > 1:
        yield RepliesHeld(closed.clients, closed.round, base)
        return
    for client in closed.clients:
        yield Replied(client, Kind.TRAIN, closed.round, base)


def counted(state: RunState, committed: RoundCommitted) -> Iterable[Letter]:
    """What was counted: replies, or what shards tell of theirs."""
    assert state.weights is not None, "rounds start from weights"
    assert state.open is not None, "what is committed was open"
    base = state.weights.digest
    if state.open.closed is not None and state.spec.run.shards > 1:
        yield Letter(RepliesHeld(state.open.closed, committed.round, base))
        for block, names in by_block(state.open.opened, state.open.closed).items():
            yield Letter(BlockSummed(block, names, committed.round, base))
        return
    for one in committed.participants:
        yield Letter(Replied(one.client, committed.kind, committed.round, base))
