"""A leader may die anywhere: the run goes on as if nothing had been."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.run.events import LeaderStarted
from fl.run.spec import RunSpec
from tests.unit.run.audit import Audit
from tests.unit.run.driver import Leader
from tests.unit.run.histories import a_run, a_spec
from tests.unit.run.simulation import Answer, Script, Simulation

GOOD: Script = {}
Story = tuple[RunSpec, Mapping[str, Script]]

STORIES: dict[str, Story] = {
    "all answer": (a_spec(rounds=2, register=2), {"a": GOOD, "b": GOOD}),
    "registration times out": (
        a_spec(rounds=1, register={"min_clients": 1, "max_clients": 3, "timeout": 60}),
        {"a": GOOD, "b": GOOD},
    ),
    "registration fails": (a_spec(register={"min_clients": 2, "timeout": 60}), {"a": GOOD}),
    "nobody comes": (a_spec(register={"min_clients": 2, "timeout": 60}), {}),
    "some cannot build the model": (
        a_spec(rounds=1, register={"min_clients": 2, "max_clients": 3}),
        {"a": GOOD, "b": {"init": "failure"}, "c": GOOD},
    ),
    "too few can build the model": (a_spec(rounds=1, register=2), {"a": GOOD, "b": {"init": "failure"}}),
    "none can build the model": (a_spec(register=1), {"a": {"init": "failure"}}),
    "one is silent within a deadline": (
        a_spec(rounds=2, register=2, deadline=30),
        {"a": GOOD, "b": {"train 1": "silence", "evaluate 2": "silence"}},
    ),
    "one is gone for a round": (a_spec(rounds=2, register=2), {"a": GOOD, "b": {"train 1": "silence"}}),
    "one forgets the run": (a_spec(rounds=2, register=2), {"a": GOOD, "b": {"train 1": "lost", "evaluate 1": "lost"}}),
    "one fails and one lies": (
        a_spec(rounds=2, register=3, evaluate={"frequency": 2}),
        {"a": {"train 1": "bad"}, "b": GOOD, "c": {"train 2": "failure"}},
    ),
    "too few answer": (
        a_spec(rounds=3, register=2, min_replies=2),
        {"a": GOOD, "b": {"train 2": "failure"}},
    ),
    "two of three are asked by chance": (
        a_spec(rounds=4, register=3, sampling=2, evaluate={"clients": 0.5}),
        {"a": GOOD, "b": GOOD, "c": GOOD},
    ),
    "the fastest two are asked": (
        a_spec(rounds=4, register=3, sampling={"clients": 2, "by": "criterion", "criterion": "train-time"}),
        {"a": GOOD, "b": {"train 2": "failure"}, "c": GOOD},
    ),
    "the first two replies are taken": (
        a_spec(rounds=2, register=3, sampling={"take": 2}),
        {"a": GOOD, "b": GOOD, "c": GOOD},
    ),
    "one never has the model": (a_spec(rounds=2, register=2), {"a": GOOD, "b": {"train 1": "forgetful"}}),
    "nothing is evaluated": (a_spec(rounds=3, register=2, evaluate=False), {"a": GOOD, "b": GOOD}),
    "it stops early": (a_spec(rounds=9, register=1, early_stop={}), {"a": GOOD}),
}
stories = pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())


def result(simulation: Simulation) -> tuple[Any, ...]:
    return simulation.commits, simulation.end


@stories
def test_a_leader_may_die_before_any_thing_it_does(story: Story) -> None:
    # Given
    undisturbed = Simulation(*story).run()
    for last in range(1, undisturbed.performed + 1):
        # When
        disturbed = Simulation(*story, dies={last}.__contains__).run()
        # Then
        assert len(disturbed.leaders) == 2
        assert result(disturbed) == result(undisturbed), f"it died before thing {last}"
        audit = Audit(story[0])
        for happening in disturbed.trace:
            audit.watch(happening)


@st.composite
def any_story(draw: st.DrawFn) -> Story:
    rounds = draw(st.integers(1, 3))
    clients = draw(st.integers(1, 4))
    needed = draw(st.integers(1, clients))
    in_rounds: st.SearchStrategy[Answer] = st.sampled_from(get_args(Answer))
    at_first: st.SearchStrategy[Answer] = st.sampled_from(("good", "failure"))
    steps = ["init", *(f"{kind} {round_}" for kind in ("train", "evaluate") for round_ in range(1, rounds + 1))]
    answers = {step: at_first if step == "init" else in_rounds for step in steps}
    scripts: dict[str, Script] = {name: draw(st.fixed_dictionaries({}, optional=answers)) for name in "abcd"[:clients]}
    spec = a_spec(
        rounds=rounds,
        register={"min_clients": needed, "max_clients": clients},
        min_replies=draw(st.integers(1, needed)),
        sampling=draw(st.integers(needed, clients) | st.sampled_from([0.5, 1.0])),
        deadline=draw(st.none() | st.just(30.0)),
        evaluate={"frequency": draw(st.integers(1, 2))},
    )
    return spec, scripts


@settings(max_examples=150, deadline=None)
@given(any_story(), st.lists(st.integers(1, 60), max_size=8))
def test_leaders_may_die_as_often_as_they_like(story: Story, lives: list[int]) -> None:
    # Given
    undisturbed = Simulation(*story).run()
    deaths = {sum(lives[: index + 1]) for index in range(len(lives))}
    # When
    disturbed = Simulation(*story, dies=deaths.__contains__).run()
    # Then
    assert result(disturbed) == result(undisturbed)


@stories
def test_a_leader_that_takes_over_from_one_that_has_done_all_appends_nothing_but_its_start(story: Story) -> None:
    # Given
    ended = Simulation(*story).run()
    before = len(ended.log)
    # When
    successor = Leader("successor", a_run(story[0]), ended.log, ended.trace)
    successor.start()
    # Then
    assert [type(record) for _, record in ended.log[before:]] == [LeaderStarted]
    assert successor.closed


@stories
def test_taking_over_twice_at_once_logs_what_taking_over_once_does(story: Story) -> None:
    # Given
    whole = Simulation(*story).run().log
    for cut in range(1, len(whole)):
        log = whole[:cut]
        Leader("second", a_run(story[0]), log, []).start()
        after_one = [record for _, record in log if not isinstance(record, LeaderStarted)]
        # When
        Leader("third", a_run(story[0]), log, []).start()
        # Then
        assert [record for _, record in log if not isinstance(record, LeaderStarted)] == after_one, f"cut at {cut}"
