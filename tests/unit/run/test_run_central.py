"""Centrally private runs: whom they ask, how rounds close, what is counted, and what a spec must not ask."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from fl.core.layout import Layout, Role, TensorSpec
from fl.errors import ConfigError
from fl.run.apply import apply
from fl.run.asking import needed, participants
from fl.run.central_rules import unprotected
from fl.run.commands import Append, Fold, Hold
from fl.run.events import ClientsReady, Kind, LeaderStarted, RoundClosed, RoundOpened, RunEnded, Status
from fl.run.follow import effects, following
from fl.run.releases import planned, privacy_of_sum, spent
from fl.run.replay import replay
from fl.run.spec import RunSpec
from fl.run.state import RunState
from fl.run.step import resume
from tests.unit.run.audit import Audit
from tests.unit.run.driver import commands_about
from tests.unit.run.histories import (
    SECRET,
    W,
    a_run,
    a_spec,
    a_state,
    admitted,
    opened,
    reply,
    running,
    trained,
    training,
)
from tests.unit.run.simulation import Script, Simulation
from tests.unit.run.test_run_takeover import result
from tests.unit.run.written_specs import refusal

NOISE = {"clip_norm": 1.0, "noise_multiplier": 1.5, "delta": 1e-5}
BUDGET = {"clip_norm": 1.0, "budget": (8.0, 1e-5)}
OTHERS = LeaderStarted("leader-2", "worker-2", 1)
CLOSED = RoundClosed(1, ("a", "b"))


def central(settings: dict[str, Any] = NOISE, **run: Any) -> RunSpec:
    return planned(a_spec(**{"sampling": 1.0, "evaluate": False, "central_privacy": settings, **run}))


def of_hundred(q: float, secret: bytes = SECRET) -> RunState:
    """A hundred clients that are ready."""
    names = tuple(f"c{number:02}" for number in range(100))
    return replace(a_state(central(sampling=q, register=100), *running(*names)), secret=secret)


# ---- whom a round asks -----------------------------------------------------------------------------------------------


def test_each_client_is_asked_with_the_probability_that_is_accounted_for_whatever_the_others_do() -> None:
    # Given
    state = of_hundred(0.3)
    # When
    rounds = [participants(state, Kind.TRAIN, round_) for round_ in range(1, 401)]
    # Then: of 400 rounds, the standard error of a client's share is 0.023, and of all clients' together 0.0023
    drawn = np.array([[name in asked for name in state.ready] for asked in rounds], float)
    assert drawn.mean() == pytest.approx(0.3, abs=0.012)
    assert np.abs(drawn.mean(axis=0) - 0.3).max() < 0.11
    # and their number varies as that of independent draws: its standard deviation is √(100·0.3·0.7) = 4.58
    assert drawn.sum(axis=1).std() == pytest.approx(4.58, rel=0.2)


def test_the_same_secret_asks_the_same_clients_and_another_one_others() -> None:
    asked = [participants(of_hundred(0.3, secret), Kind.TRAIN, 1) for secret in (SECRET, SECRET, SECRET[::-1])]

    assert asked[0] == asked[1] != asked[2]


def test_the_seed_of_the_spec_does_not_tell_who_is_asked() -> None:
    state = of_hundred(0.3)
    seeded = replace(state, spec=central(sampling=0.3, register=100, seed=7))

    assert participants(seeded, Kind.TRAIN, 1) == participants(state, Kind.TRAIN, 1)


def test_a_round_that_asks_nobody_is_summed_up_at_once() -> None:
    # Given
    spec = central(sampling=0.1)
    state = a_state(spec, *running("a", "b"))
    record = RoundOpened(1, Kind.TRAIN, ())
    # When
    commands = effects(apply(state, record), record)
    # Then
    assert commands[-1] == Append((RoundClosed(1, ()),))


def test_a_round_needs_no_replies_to_be_committed() -> None:
    assert needed(central(), opened(1, "a", "b")) == 0
    assert needed(central(), opened(1, "a", "b", kind=Kind.EVALUATE)) == 1


# ---- how a round closes ----------------------------------------------------------------------------------------------


def test_whose_updates_are_in_the_sum_is_logged_before_anything_is_summed() -> None:
    state = a_state(central(), *training("a", "b"), reply("a"))

    assert commands_about(state, reply("b")) == (Hold(), Append((CLOSED,)), Fold(Kind.TRAIN, 1, ("a", "b")))


def test_another_leader_waits_for_those_whom_the_log_says_and_no_others() -> None:
    # Given: the sum was settled without c
    state = a_state(central(register=3), *training("a", "b", "c"), CLOSED, OTHERS)
    # Then
    assert state.wanted == {"a", "b"}


def test_the_mean_is_over_those_that_could_be_asked_when_the_round_was_opened() -> None:
    # Given
    spec = central(sampling=0.5)
    state = a_state(spec, *running("a", "b"), opened(1, "a"))
    # When a third one comes
    late = a_state(spec, *running("a", "b"), opened(1, "a"), admitted("c"), ClientsReady(("c",)))
    # Then
    for one in (state, late):
        privacy = privacy_of_sum(one)
        assert privacy is not None
        assert privacy.expected == 1.0


def test_the_clip_norm_of_a_round_is_what_the_last_commit_says() -> None:
    # Given
    spec = central({**NOISE, "adaptive": True}, rounds=2)
    committed = replace(trained(1, "a", "b"), clip_norm=0.25)
    # When
    state = a_state(spec, *training("a", "b"), CLOSED, committed, opened(2, "a", "b"))
    # Then
    privacy = privacy_of_sum(state)
    assert privacy is not None
    assert privacy.clip_norm == 0.25


# ---- what is counted -------------------------------------------------------------------------------------------------


def sums(spec: RunSpec, *events: Any) -> int:
    cost = spent(a_state(spec, *events))
    assert cost is not None
    return cost.sums.steps


def test_a_sum_counts_once_it_is_settled_whose_it_is() -> None:
    assert sums(central(), *training("a", "b")) == 0
    assert sums(central(), *training("a", "b"), CLOSED) == 1
    assert sums(central(), *training("a", "b"), CLOSED, trained(1, "a", "b")) == 1


def test_a_leader_that_takes_over_when_it_is_settled_counts_once_more() -> None:
    assert sums(central(), *training("a", "b"), CLOSED, OTHERS) == 2


def test_a_leader_that_takes_over_before_counts_nothing() -> None:
    assert sums(central(), *training("a", "b"), OTHERS) == 0
    assert sums(central(), *training("a", "b"), OTHERS, CLOSED) == 1


def test_a_sum_of_nobody_is_settled_again_by_whoever_takes_over() -> None:
    # Given
    state = a_state(central(), *running("a", "b"), opened(1), RoundClosed(1, ()), OTHERS)
    # Then: it counts when it is
    assert resume(state)[-1] == Append((RoundClosed(1, ()),))
    assert state.released == 1
    assert apply(state, RoundClosed(1, ())).released == 2


def test_a_sum_of_others_counts_once_more() -> None:
    assert sums(central(), *training("a", "b"), CLOSED, RoundClosed(1, ("a",))) == 2


def test_a_run_without_central_privacy_counts_nothing() -> None:
    assert spent(a_state(a_spec(shards=2), *training("a", "b"), CLOSED)) is None
    assert a_state(a_spec(shards=2), *training("a", "b"), CLOSED).released == 0


@pytest.mark.parametrize(("accountant", "oracle"), [("rdp", RDPAccountant), ("prv", PRVAccountant)])
def test_the_noise_of_a_budget_is_what_opacus_takes_for_so_many_sums(accountant: str, oracle: Any) -> None:
    # Given
    spec = central({**BUDGET, "accountant": accountant, "spare_sums": 3}, rounds=20, sampling=0.1)
    assert spec.run.central_privacy is not None
    # When
    told = oracle()
    told.history = [(spec.run.central_privacy.z, 0.1, 23)]
    # Then
    assert 7.99 < told.get_epsilon(1e-5) <= 8.0


def test_a_run_ends_before_a_sum_that_its_budget_is_not_for() -> None:
    # Given: two rounds, of which the first was settled twice
    spec = central({**BUDGET, "spare_sums": 0}, rounds=2)
    state = a_state(spec, *training("a", "b"), CLOSED, OTHERS, trained(1, "a", "b"))
    # Then
    reason = "the budget of central privacy is spent after round 1"
    assert following(state) == RunEnded(Status.FINISHED, reason, 1, W[1])


def test_a_sum_that_may_have_been_seen_is_not_made_again_where_the_budget_is_not_for_it() -> None:
    # Given: the last sum of the budget is settled when its leader dies
    spec = central({**BUDGET, "spare_sums": 0}, rounds=1)
    state = a_state(spec, *training("a", "b"), CLOSED, OTHERS, reply("a"))
    # When
    commands = commands_about(state, reply("b"))
    # Then
    reason = "the budget of central privacy is spent in round 1, which is left out"
    assert commands[:2] == (Hold(), Append((RunEnded(Status.FINISHED, reason, 0, W[0]),)))
    assert not any(isinstance(command, Fold) for command in commands)


def test_a_spare_sum_lets_another_leader_make_it_again() -> None:
    spec = central(BUDGET, rounds=1)
    state = a_state(spec, *training("a", "b"), CLOSED, OTHERS, reply("a"))

    assert commands_about(state, reply("b")) == (Hold(), Fold(Kind.TRAIN, 1, ("a", "b")))


def test_noise_without_a_budget_lets_a_run_go_on() -> None:
    state = a_state(central(rounds=1), *training("a", "b"), CLOSED, OTHERS, OTHERS, OTHERS, reply("a"))

    assert commands_about(state, reply("b")) == (Hold(), Fold(Kind.TRAIN, 1, ("a", "b")))


def test_a_leader_that_takes_over_asks_those_again_that_are_in_the_sum() -> None:
    state = a_state(central(register=3), *training("a", "b", "c"), CLOSED, OTHERS)

    asked = [command for command in resume(state) if hasattr(command, "client")]

    assert sorted(command.client for command in asked) == ["a", "b"]


# ---- leaders that die ------------------------------------------------------------------------------------------------

GOOD: Script = {}
SCRIPTS: dict[str, dict[str, Script]] = {
    "all answer": {"a": GOOD, "b": GOOD, "c": GOOD},
    "one fails and one lies": {"a": {"train 1": "bad"}, "b": {"train 2": "failure"}, "c": GOOD},
    "one forgets the run and one is gone": {"a": {"train 1": "lost"}, "b": {"train 2": "silence"}, "c": GOOD},
    "nobody can train": {name: {"train 2": "failure"} for name in "abc"},
}
scripted = pytest.mark.parametrize("scripts", SCRIPTS.values(), ids=SCRIPTS.keys())


def sums_made(simulation: Simulation) -> int:
    """By all leaders together, each of which others may have seen."""
    return sum(isinstance(one, Fold) and one.kind is Kind.TRAIN for one in simulation.trace)


def sums_counted(simulation: Simulation) -> int:
    return replay(a_run(simulation.spec), simulation.log).released


@scripted
@pytest.mark.parametrize("q", [0.3, 1.0])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_leader_may_die_before_any_thing_it_does_and_every_sum_is_counted(
    scripts: dict[str, Script], q: float, shards: int
) -> None:
    # Given
    spec = central(rounds=3, register=3, sampling=q, shards=shards)
    undisturbed = Simulation(spec, scripts).run()
    for last in range(1, undisturbed.performed + 1):
        # When
        disturbed = Simulation(spec, scripts, dies={last}.__contains__).run()
        # Then
        assert result(disturbed) == result(undisturbed), f"it died before thing {last}"
        assert sums_made(disturbed) <= sums_counted(disturbed)
        audit = Audit(spec)
        for happening in disturbed.trace:
            audit.watch(happening)


@scripted
@given(lives=st.lists(st.integers(1, 40), max_size=8))
def test_a_run_makes_no_more_sums_than_its_budget_is_for_however_often_leaders_die(
    scripts: dict[str, Script], lives: list[int]
) -> None:
    # Given
    spec = central({**BUDGET, "spare_sums": 1}, rounds=3, register=3)
    deaths = {sum(lives[: index + 1]) for index in range(len(lives))}
    # When
    disturbed = Simulation(spec, scripts, dies=deaths.__contains__).run()
    # Then
    assert sums_made(disturbed) <= sums_counted(disturbed)
    assert sums_made(disturbed) <= 4
    assert disturbed.end.status is Status.FINISHED


# ---- what a spec must not ask ----------------------------------------------------------------------------------------

TABLES: dict[str, Any] = {
    "model": {"kind": "none"},
    "optim": {"client_opt": 0.1},
    "run": {"rounds": 1, "training": {"batch_size": 8}, "evaluate": False, "central_privacy": NOISE},
}


def refused(**changes: Any) -> str:
    optim = {**TABLES["optim"], **changes.pop("optim", {})}
    return refusal({**TABLES, "optim": optim, "run": {**TABLES["run"], **changes}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": 3}, "sampling.clients = 3: each client is asked with one probability"),
        ({"sampling": {"by": "weighted"}}, "sampling.by = 'weighted': all clients are asked with the same"),
        ({"sampling": {"by": "criterion", "criterion": "n-samples"}}, "sampling.by = 'criterion'"),
        ({"sampling": {"take": 0.5}}, "sampling.take: who is among the first depends on the others"),
        ({"min_replies": 2}, "min_replies = 2: a round that waits for replies tells how many there were"),
        ({"min_replies": 0.5}, "min_replies = 0.5: a round that waits for replies tells how many there were"),
        ({"evaluate": True}, "evaluations tell losses and metrics of the clients' data without noise"),
        ({"optim": {"aggregator": "median"}}, "the aggregator 'median': noise is for the sum of all updates"),
        ({"optim": {"preset": "FedAvg"}}, "the aggregator's samples_weighted: all clients count the same"),
        (
            {"optim": {"aggregator": {"name": "averaging", "client_weights": {"a": 2.0}}}},
            "the aggregator's client_weights: all clients count the same",
        ),
        ({"optim": {"preset": "SCAFFOLD"}}, "'scaffold-client' adds up what clients tell beside their updates"),
    ],
)
def test_what_is_not_accounted_for_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    assert f"central_privacy: {words}" in refused(**changes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"clip_norm": 1.0}, "give either a budget"),
        ({**NOISE, **BUDGET}, "give either a budget"),
        ({"clip_norm": 1.0, "noise_multiplier": 1.0}, "delta goes with noise_multiplier"),
        ({**BUDGET, "delta": 1e-5}, "delta goes with noise_multiplier"),
        ({**NOISE, "delta": 1.0}, "delta is 1.0"),
        ({**NOISE, "clip_norm": 0.0}, "clip_norm is 0.0"),
        ({**NOISE, "noise_multiplier": 0.0}, "noise_multiplier is 0.0"),
        ({**BUDGET, "budget": (0.0, 1e-5)}, "epsilon is 0.0"),
        ({**NOISE, "accountant": "rpd"}, "there is no accountant 'rpd'"),
        ({**NOISE, "adaptive": {"quantile": 2.0}}, "quantile is 2.0"),
        ({**NOISE, "adaptive": {"quantil": 0.5}}, "unknown key 'quantil'; did you mean 'quantile'"),
        ({**NOISE, "seed": 1}, "seed: who knows the seed of the noise can take it off again"),
        ({**NOISE, "spare_sums": -1}, "spare_sums: Input should be greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings: dict[str, Any], words: str) -> None:
    assert words in refused(central_privacy=settings)


def test_noise_on_the_count_that_leaves_none_for_the_updates_is_refused_when_a_run_is_submitted() -> None:
    with pytest.raises(ConfigError, match=r"count_noise is 0\.1"):
        central({**NOISE, "adaptive": {"count_noise": 0.1}})


def test_averaging_that_lets_all_count_the_same_may_be_written() -> None:
    spec = RunSpec.parse(
        {**TABLES, "optim": {"client_opt": 0.1, "aggregator": {"name": "averaging", "steps_weighted": False}}}, "test"
    )

    assert spec.run.central_privacy is not None


def test_a_spec_is_the_same_after_it_has_travelled() -> None:
    spec = central({**BUDGET, "adaptive": True})

    assert RunSpec.from_json(spec.to_json()) == spec


def test_only_buffers_are_left_without_noise() -> None:
    weights = TensorSpec("w", "float32", (2,))
    statistics = TensorSpec("mean", "float32", (2,), Role.BUFFER)

    assert unprotected(Layout((weights,))) is None
    assert "tensor 'mean' is a buffer" in (unprotected(Layout((weights, statistics))) or "")
