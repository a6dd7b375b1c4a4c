"""Rounds that shards sum: the same decisions as with one worker, and what the log says of them."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.run.spec import RunSpec
from tests.small_blocks import small_blocks
from tests.unit.run.audit import Audit
from tests.unit.run.simulation import Simulation
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
