"""Samplers: whom they choose, how often, and that the same is chosen again."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.errors import ConfigError
from fl.run.events import ClientResult
from fl.run.sampling import (
    SCORES,
    Candidate,
    ClientSampler,
    CriterionSampler,
    Past,
    UniformSampler,
    WeightedSampler,
    drawn,
)

SAMPLERS: list[ClientSampler] = [
    UniformSampler(),
    WeightedSampler(),
    WeightedSampler({"a": 3.0, "b": 0.0}),
    *(CriterionSampler(criterion, explore=0.3, pool=0.5) for criterion in SCORES),
]
samplers = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: f"{one.name} {one.get_config()}")
DRAWS = 3_000

numbers = st.floats() | st.none()
results = st.builds(ClientResult, st.just("x"), seconds=st.floats(), update_norm=numbers)
pasts = st.builds(Past, asked=st.integers(0, 3), trained=st.none() | results, loss=numbers)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    names = draw(st.lists(st.text("abcdef", min_size=1, max_size=2), min_size=1, max_size=6, unique=True))
    return [Candidate(name, draw(st.integers(0, 2**40)), draw(pasts)) for name in sorted(names)]


@samplers
@given(candidates(), st.data())
def test_as_many_candidates_are_chosen_as_asked_for_and_each_once(
    sampler: ClientSampler, candidates: list[Candidate], data: st.DataObject
) -> None:
    # Given
    count = data.draw(st.integers(1, len(candidates)))
    # When
    chosen = sampler.choose(candidates, count, np.random.default_rng(data.draw(st.integers(0, 9))))
    # Then
    assert len(set(chosen)) == len(chosen) == count
    assert set(chosen) <= {one.name for one in candidates}


@samplers
@given(candidates(), st.integers(0, 2**32))
def test_the_same_seed_chooses_the_same_clients(sampler: ClientSampler, candidates: list[Candidate], seed: int) -> None:
    # When
    first, second = (sampler.choose(candidates, 1, np.random.default_rng(seed)) for _ in range(2))
    # Then
    assert first == second


@samplers
def test_a_sampler_comes_back_from_its_config(sampler: ClientSampler) -> None:
    # When
    again = ClientSampler.registry.build((sampler.name, sampler.get_config()))
    # Then
    assert (type(again), again.get_config()) == (type(sampler), sampler.get_config())


# ---- chance ---------------------------------------------------------------------------------------------------------


def inclusion(weights: Mapping[str, float], count: int) -> dict[str, float]:
    """How likely each name is among `count` drawn one after the other, summed over all orders."""
    likely = dict.fromkeys(weights, 0.0)
    for order in permutations(weights, count):
        left, chance = sum(weights.values()), 1.0
        for name in order:
            chance *= weights[name] / left
            left -= weights[name]
        for name in order:
            likely[name] += chance
    return likely


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    "weights", [{"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}, {"a": 1.0, "b": 2.0, "c": 5.0, "d": 40.0}]
)
def test_names_are_drawn_as_often_as_one_after_the_other_in_proportion(weights: dict[str, float], count: int) -> None:
    # Given
    rng = np.random.default_rng(0)
    # When
    seen = Counter(name for _ in range(DRAWS) for name in drawn(weights, count, rng))
    # Then
    for name, chance in inclusion(weights, count).items():
        spread = math.sqrt(DRAWS * chance * (1 - chance))
        assert abs(seen[name] - DRAWS * chance) <= 4 * spread + 1e-6, name


def test_a_name_of_weight_zero_is_drawn_only_when_no_other_is_left() -> None:
    # Given
    rng = np.random.default_rng(0)
    # When
    orders = [drawn({"none": 0.0, "tiny": 1e-300, "some": 1.0}, 3, rng) for _ in range(100)]
    # Then
    assert {order[-1] for order in orders} == {"none"}


def often(sampler: ClientSampler, candidates: Sequence[Candidate], count: int = 1) -> Mapping[str, float]:
    """How often each candidate is among the chosen, of many times."""
    rng = np.random.default_rng(1)
    seen = Counter(name for _ in range(DRAWS) for name in sampler.choose(candidates, count, rng))
    return {name: times / DRAWS for name, times in seen.items()}


def test_uniform_looks_at_nothing() -> None:
    # When
    shares = often(UniformSampler(), [Candidate("a", 1), Candidate("b", 10**6)])
    # Then
    assert shares["a"] == pytest.approx(0.5, abs=0.04)


def test_weighted_goes_by_numbers_of_samples() -> None:
    # When
    shares = often(WeightedSampler(), [Candidate("a", 100), Candidate("b", 300)])
    # Then
    assert shares["b"] == pytest.approx(0.75, abs=0.04)


def test_weights_by_name_take_their_place_and_default_to_one() -> None:
    # When
    shares = often(WeightedSampler({"a": 4}), [Candidate("a", 1), Candidate("b", 10**6)])
    # Then
    assert shares["a"] == pytest.approx(0.8, abs=0.04)


# ---- criteria -------------------------------------------------------------------------------------------------------


def past(name: str, seconds: float = 0.0, loss: float | None = None, norm: float | None = None) -> Past:
    return Past(asked=1, trained=ClientResult(name, seconds=seconds, update_norm=norm), loss=loss)


KNOWN = [
    Candidate("fast", 10, past("fast", seconds=1.0, loss=0.2, norm=2.0)),
    Candidate("large", 90, past("large", seconds=9.0, loss=0.3, norm=1.0)),
    Candidate("wrong", 20, past("wrong", seconds=5.0, loss=0.9, norm=5.0)),
]


def first(criterion: str, candidates: Sequence[Candidate], count: int = 1, **options: Any) -> Sequence[str]:
    sampler = CriterionSampler(criterion, **{"explore": 0.0, **options})
    return sampler.choose(candidates, count, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("criterion", "order"),
    [
        ("train-time", ["fast", "wrong", "large"]),
        ("loss", ["wrong", "large", "fast"]),
        ("update-norm", ["wrong", "fast", "large"]),
        ("n-samples", ["large", "wrong", "fast"]),
    ],
)
def test_a_criterion_puts_clients_in_its_order(criterion: str, order: list[str]) -> None:
    assert first(criterion, KNOWN, 3) == order


@pytest.mark.parametrize("criterion", ["train-time", "loss", "update-norm"])
def test_a_client_that_was_never_asked_comes_first(criterion: str) -> None:
    assert first(criterion, [*KNOWN, Candidate("young")], 1) == ["young"]


@pytest.mark.parametrize("criterion", ["train-time", "loss", "update-norm"])
def test_a_client_that_was_asked_and_never_counted_comes_last(criterion: str) -> None:
    assert first(criterion, [Candidate("absent", 10, Past(asked=1)), *KNOWN], 4)[-1] == "absent"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_no_reason_to_be_asked(loss: float) -> None:
    assert first("loss", [Candidate("broken", 10, Past(loss=loss)), *KNOWN], 4)[-1] == "broken"


def test_ties_are_broken_by_chance() -> None:
    # When
    shares = often(CriterionSampler("n-samples", explore=0.0), [Candidate("a", 5), Candidate("b", 5)])
    # Then
    assert shares["a"] == pytest.approx(0.5, abs=0.04)


def test_exploring_draws_that_share_of_the_chosen_from_the_rest() -> None:
    # Given two of five, 0.25 of which are drawn: half of the time one of the four others, by chance
    many = [Candidate(name, number) for number, name in enumerate("abcde", start=1)]
    # When
    shares = often(CriterionSampler("n-samples", explore=0.25), many, count=2)
    # Then
    assert shares["e"] == 1.0
    assert shares["d"] == pytest.approx(0.5 + 0.5 / 4, abs=0.04)
    assert shares["a"] == pytest.approx(0.5 / 4, abs=0.04)


def test_exploring_everything_is_uniform() -> None:
    # When
    shares = often(CriterionSampler("n-samples", explore=1.0), [Candidate("a", 1), Candidate("b", 2)])
    # Then
    assert shares["a"] == pytest.approx(0.5, abs=0.04)


def test_a_pool_is_drawn_by_numbers_of_samples_before_the_criterion_is_asked() -> None:
    # Given
    unlike = [Candidate("few", 100, Past(loss=9.0)), Candidate("many", 300, Past(loss=0.0))]
    # When
    shares = often(CriterionSampler("loss", explore=0.0, pool=1), unlike)
    # Then
    assert shares["many"] == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("weightd", "unknown client sampler 'weightd'; did you mean 'weighted'?"),
        (("weighted", {"weights": {"a": -1}}), "weighted: the weight of client 'a' is -1: use a number of at least 0"),
        (("weighted", {"weights": {"a": True}}), "the weight of client 'a' is True"),
        (("criterion", {"criterion": "los"}), "criterion: unknown criterion 'los'; did you mean 'loss'?"),
        (("criterion", {"criterion": "loss", "explore": 2}), "criterion: explore is 2: use a number from 0 to 1"),
        (("criterion", {"criterion": "loss", "pool": 0}), "a number of clients, or a part of them"),
        ("criterion", "criterion: option 'criterion' is missing"),
    ],
)
def test_a_sampler_that_makes_no_sense_is_refused(spec: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClientSampler.registry.build(spec)
    assert problem in str(caught.value)
