"""Learning rates over time, against their formulas."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.optimizer import Optimizer, Scheduler
from fl.core.vector import NumpyVector
from fl.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Case:
    """A scheduler, and the same by its formula."""

    name: str
    config: dict[str, Any]
    oracle: Callable[[int], float]

    def __str__(self) -> str:
        return f"{self.name}{self.config}".replace(" ", "")


def restarts(n: int, factor: int) -> Callable[[int], float]:
    """Every rate of the cycles, one after the other."""
    rates = [
        0.1 + 0.7 * (1 + math.cos(math.pi * t / length)) / 2
        for length in (n * factor**cycle for cycle in range(20 if factor == 1 else 4))
        for t in range(length)
    ]
    return rates.__getitem__


def triangle(t: int) -> float:
    return [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3][t % 6]


CASES = (
    Case("exponential", {"base": 2, "rate": 0.1}, lambda t: 2 * math.e ** (-0.1 * t)),
    Case("inverse-scaling", {"base": 0.8}, lambda t: 0.8 / math.sqrt(1 + t)),
    Case("inverse-scaling", {"base": 0.8, "power": 2}, lambda t: 0.8 / (1 + t) ** 2),
    Case("linear", {"base": 1.0, "n": 10}, lambda t: max(0.0, (10 - t) / 10)),
    Case("linear", {"base": 1.0, "n": 10, "final": 0.5}, lambda t: max(0.5, (20 - t) / 20)),
    Case("polynomial", {"base": 1.0, "n": 10, "power": 3.0}, lambda t: max(0.0, (10 - t) / 10) ** 3),
    Case("polynomial", {"base": 0.5, "n": 4, "final": 0.1}, lambda t: 0.1 + 0.4 * (max(0, 4 - t) / 4) ** 2),
    Case(
        "piecewise", {"base": 1, "boundaries": [3, 7], "values": [0.5, 0.1]}, lambda t: (1, 0.5, 0.1)[(t > 2) + (t > 6)]
    ),
    Case("cosine-annealing", {"base": 0.8, "n": 8}, lambda t: 0.4 * (1 + math.cos(math.pi * min(t, 8) / 8))),
    Case("cosine-annealing-warm-restarts", {"base": 0.8, "n": 5, "final": 0.1}, restarts(5, 1)),
    Case("cosine-annealing-warm-restarts", {"base": 0.8, "n": 3, "factor": 2, "final": 0.1}, restarts(3, 2)),
    Case("cyclic-triangular", {"base": 0.1, "peak": 0.7, "n": 3}, lambda t: 0.1 + 0.6 * triangle(t)),
    Case(
        "cyclic-exp-range", {"base": 0.1, "peak": 0.7, "n": 3, "gamma": 0.9}, lambda t: 0.1 + 0.6 * triangle(t) * 0.9**t
    ),
    Case("warmup", {"base": 0.5, "n": 4}, lambda t: 0.5 * min(1, (t + 1) / 4)),
    Case(
        "warmup",
        {"base": ["linear", {"base": 1, "n": 10}], "n": 4},
        lambda t: min(1, (t + 1) / 4) * max(0, (10 - t) / 10),
    ),
)
LEVELED = [case for case in CASES if case.name != "warmup"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_rate_at_each_step_is_that_of_the_formula_from_0_on(case: Case) -> None:
    scheduler = Scheduler.registry.build((case.name, case.config))
    rates = [scheduler.value(step=t, round_=99) for t in range(25)]
    assert rates == pytest.approx([case.oracle(t) for t in range(25)], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("case", LEVELED, ids=str)
def test_with_step_level_false_rounds_count_in_the_place_of_steps(case: Case) -> None:
    scheduler = Scheduler.registry.build((case.name, {**case.config, "step_level": False}))
    assert scheduler.value(step=99, round_=7) == pytest.approx(case.oracle(7), rel=1e-12)


@pytest.mark.parametrize("base", [0.5, {"name": "exponential", "base": 0.5, "rate": 0.0}])
def test_a_warm_up_may_take_rounds(base: Any) -> None:
    scheduler = Scheduler.registry.build(("warmup-rounds", {"base": base, "n": 4}))
    assert [scheduler.value(step=99, round_=round_) for round_ in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_scheduler_survives_its_config_as_json(case: Case) -> None:
    config = json.loads(json.dumps(Optimizer((case.name, case.config)).get_config()))
    again = Optimizer.from_config(config).lrate
    assert isinstance(again, Scheduler)
    assert [again.value(step=t, round_=t) for t in range(25)] == pytest.approx(
        [case.oracle(t) for t in range(25)], rel=1e-12, abs=1e-12
    )


@given(t=st.integers(0, 10**6), factor=st.integers(1, 4))
def test_restarts_stay_between_their_rates_for_ever(t: int, factor: int) -> None:
    scheduler = Scheduler.registry.build(("cosine-annealing-warm-restarts", {"base": 1, "n": 7, "factor": factor}))
    assert 0 < scheduler.value(step=t, round_=0) <= 1


def rates(optimizer: Optimizer, n_steps: int) -> list[float]:
    one = NumpyVector.from_arrays({"w": [1.0]})
    optimizer.start_round(one)
    return [float(optimizer.compute_updates(one, one).flat[0]) for _ in range(n_steps)]


def test_an_optimizer_counts_steps_over_rounds_and_goes_on_from_its_state() -> None:
    # Given an optimizer that has taken three steps in one round
    optimizer, again = (Optimizer(("linear", {"base": 1.0, "n": 10})) for _ in range(2))
    assert rates(optimizer, 3) == pytest.approx([1.0, 0.9, 0.8])
    # When another goes on from its state
    again.set_state(optimizer.get_state())
    # Then the count goes on
    assert rates(again, 2) == pytest.approx([0.7, 0.6])


def test_an_optimizer_counts_rounds_from_0() -> None:
    optimizer = Optimizer({"name": "linear", "base": 1.0, "n": 10, "step_level": False})
    assert [rates(optimizer, 2) for _ in range(3)] == [[1.0, 1.0], [0.9, 0.9], [0.8, 0.8]]


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("exponential", {"base": 0, "rate": 1}, "exponential: base is 0: use a number above 0"),
        ("exponential", {"base": 1}, "option 'rate' is missing"),
        ("exponential", {"base": 1, "rate": -1}, "rate is -1: use a number of at least 0"),
        ("linear", {"base": 1, "n": 0}, "n is 0: use a whole number of at least 1"),
        ("linear", {"base": 1, "n": 2.5}, "n is 2.5: use a whole number of at least 1"),
        ("linear", {"base": 1, "n": 2, "power": 2}, "unknown option 'power'"),
        ("piecewise", {"base": 1, "boundaries": [2, 2], "values": [1, 1]}, "each must be above the one before"),
        ("piecewise", {"base": 1, "boundaries": [2], "values": []}, "1 boundaries need as many values, but got 0"),
        ("cyclic-exp-range", {"base": 1, "peak": 2, "n": 3, "gamma": 1.5}, "gamma is 1.5: use a number from 0 to 1"),
        ("warmup", {"base": -1, "n": 2}, "warmup: base is -1: use a number above 0"),
        ("warmup", {"base": "linear", "n": 2}, "option 'base' is missing"),
    ],
)
def test_options_that_make_no_schedule_are_refused(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Scheduler.registry.build((name, config))


def test_an_unknown_scheduler_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown scheduler 'lineer'; did you mean 'linear'"):
        Optimizer("lineer")


def test_the_list_has_every_scheduler_there_is() -> None:
    ours = {
        name
        for name in Scheduler.registry.names()
        if Scheduler.registry.get(name).__module__.startswith("fl.core.optimizer.")
    }
    assert {case.name for case in CASES} | {"warmup-rounds"} == ours
