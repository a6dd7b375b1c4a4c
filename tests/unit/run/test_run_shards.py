"""Rounds that shards sum: the same decisions as with one worker, and what the log says of them."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.run.commands import Append, Drop, Fold, Hold, SendRound, SetTimer
from fl.run.events import ClientsOut, Kind, LeaderStarted, Note, RoundClosed, Timer, UpdateUnusable
from fl.run.shard_events import BlockSummed, RepliesHeld, RepliesLacking, SumFailed
from fl.run.spec import RunSpec
from fl.run.step import resume
from tests.small_blocks import small_blocks
from tests.unit.run.audit import Audit
from tests.unit.run.histories import W, a_spec, a_state, training
from tests.unit.run.simulation import Simulation
from tests.unit.run.tables import Row, check, failed, farewell, table
from tests.unit.run.test_run_takeover import STORIES, Story, any_story, result


@pytest.fixture(autouse=True, scope="module")
def blocks_of_two() -> Iterator[None]:
    with small_blocks():
        yield


def shared(spec: RunSpec, shards: int = 2) -> RunSpec:
    return spec.model_copy(update={"run": spec.run.model_copy(update={"shards": shards})})


def audited(simulation: Simulation) -> Simulation:
    audit = Audit(simulation.spec)
    for happening in simulation.trace:
        audit.watch(happening)
    return simulation


stories = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())


@stories
def test_a_run_with_shards_comes_to_what_it_comes_to_without(story: Story) -> None:
    spec, scripts = story

    assert result(audited(Simulation(shared(spec), scripts).run())) == result(Simulation(spec, scripts).run())


@stories
def test_a_leader_of_shards_may_die_before_any_thing_it_does(story: Story) -> None:
    # Given
    spec, scripts = story
    undisturbed = Simulation(shared(spec), scripts).run()
    for last in range(1, undisturbed.performed + 1):
        # When
        disturbed = Simulation(shared(spec), scripts, dies={last}.__contains__).run()
        # Then
        assert len(disturbed.leaders) == 2
        assert result(disturbed) == result(undisturbed), f"it died before thing {last}"
        audited(disturbed)


@settings(max_examples=150, deadline=None)
@given(any_story(), st.lists(st.integers(1, 60), max_size=8))
def test_leaders_of_shards_may_die_as_often_as_they_like(story: Story, lives: list[int]) -> None:
    # Given
    spec, scripts = story
    deaths = {sum(lives[: index + 1]) for index in range(len(lives))}
    # When
    disturbed = Simulation(shared(spec), scripts, dies=deaths.__contains__).run()
    # Then
    assert result(audited(disturbed)) == result(Simulation(spec, scripts).run())


# ---- one decision at a time ----------------------------------------------------------------------------------------

SHARED = a_spec(register=3, shards=2)
TRAINING = training("a", "b", "c")
"""Two blocks: a and b, and c."""
ABOUT = (1, W[0].digest)
CLOSED = (*TRAINING, RepliesHeld(("a", "b", "c"), *ABOUT), RoundClosed(1, ("a", "b", "c")))


def unusable(client: str, again: bool) -> UpdateUnusable:
    return UpdateUnusable(client, "no numbers", again)


@table(
    Row("one that answers is held", SHARED, TRAINING, RepliesHeld(("a",), *ABOUT), (Hold(),)),
    Row(
        "when all have answered it is logged who is in the sum, and nothing is folded",
        SHARED,
        TRAINING,
        RepliesHeld(("a", "b", "c"), *ABOUT),
        (Hold(), Append((RoundClosed(1, ("a", "b", "c")),))),
    ),
    Row(
        "what is held of another round has no effect",
        SHARED,
        TRAINING,
        RepliesHeld(("a",), 2, W[0].digest),
        (Drop("its round is not open"),),
    ),
    Row(
        "where a worker is alone nobody else holds replies",
        a_spec(register=3),
        TRAINING,
        RepliesHeld(("a",), *ABOUT),
        (Drop("no round is open that shards sum"),),
    ),
    Row("the sum of one block of two is held", SHARED, CLOSED, BlockSummed(1, ("c",), *ABOUT), (Hold(),)),
    Row(
        "the round is folded with the last block",
        SHARED,
        (*CLOSED, BlockSummed(1, ("c",), *ABOUT)),
        BlockSummed(0, ("a", "b"), *ABOUT),
        (Hold(), Fold(Kind.TRAIN, 1, ("a", "b", "c"))),
    ),
    Row(
        "a sum that comes twice counts once",
        SHARED,
        (*CLOSED, BlockSummed(1, ("c",), *ABOUT)),
        BlockSummed(1, ("c",), *ABOUT),
        (Drop("summed before"),),
    ),
    Row(
        "a sum of others than the log says has no effect",
        SHARED,
        CLOSED,
        BlockSummed(0, ("a",), *ABOUT),
        (Drop("a sum of others than those that are to be in it"),),
    ),
    Row(
        "who comes when it is settled who is in the sum is too late",
        SHARED,
        (*TRAINING, RepliesHeld(("a", "b"), *ABOUT), RoundClosed(1, ("a", "b"))),
        RepliesHeld(("c",), *ABOUT),
        (Drop("answered before, or not asked"),),
    ),
    Row(
        "an update that proves unusable when all is settled is asked for once more, where there is time",
        SHARED,
        CLOSED,
        unusable("c", again=True),
        (SendRound("c", edition=1),),
    ),
    Row(
        "without it the others are settled anew",
        SHARED,
        CLOSED,
        unusable("c", again=False),
        (Append((ClientsOut((Note("c", "no numbers"),)),)), Append((RoundClosed(1, ("a", "b")),))),
    ),
    Row(
        "what a shard lacks is asked for again",
        SHARED,
        CLOSED,
        RepliesLacking(("a", "c"), *ABOUT),
        (SendRound("a"), SendRound("c"), SetTimer(Timer.ROUND, None)),
    ),
    Row(
        "what is in a sum already is not",
        SHARED,
        (*CLOSED, BlockSummed(1, ("c",), *ABOUT)),
        RepliesLacking(("c",), *ABOUT),
        (Drop("what is lacking is in a sum, or awaited already"),),
    ),
    Row(
        "with its queue a shard loses also what nobody has heard of",
        SHARED,
        TRAINING,
        RepliesLacking(("c",), *ABOUT, queue_lost=True),
        (SendRound("c"), SetTimer(Timer.ROUND, None)),
    ),
    Row(
        "a sum that nobody can make ends the run",
        SHARED,
        CLOSED,
        SumFailed("no such aggregator", *ABOUT),
        (failed("no such aggregator", W[0]), *farewell("a", "b", "c")),
    ),
)
def test_of_what_shards_tell(row: Row) -> None:
    check(row)


def test_who_leads_next_waits_for_those_that_are_to_be_in_the_sum_and_for_nobody_else() -> None:
    # Given a round that is closed without c
    state = a_state(SHARED, *TRAINING, RoundClosed(1, ("a", "b")), LeaderStarted("leader-2", "worker-2", 1))

    # Then
    assert [command for command in resume(state) if isinstance(command, SendRound)] == [SendRound("a"), SendRound("b")]
    assert state.awaiting == {"a", "b"}
