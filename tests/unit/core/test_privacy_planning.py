"""Plans: steps, noise and signal of a run at one site."""

import numpy as np
import pytest

from fl.core.dataset import Batching
from fl.core.privacy.accounting import Spending, noise_multiplier
from fl.core.privacy.options import Budget
from fl.core.privacy.planning import Plan, plan
from fl.core.training import Effort
from fl.errors import ConfigError

BUDGET = Budget(8.0, 1e-5)


def planned(
    n_samples: int = 1050, batching: Batching | None = None, rounds: int = 10, effort: Effort | None = None
) -> Plan:
    return plan(
        n_samples=n_samples,
        batching=batching or Batching(100),
        rounds=rounds,
        effort=effort or Effort(),
        budget=BUDGET,
    )


@pytest.mark.parametrize(
    ("batching", "effort", "each"),
    [
        (Batching(100), Effort(2), 20),
        (Batching(100, drop_remainder=False), Effort(2), 22),
        (Batching(100), Effort(2, 3), 3),
        (Batching(2000), Effort(3), 3),
        (Batching(100, shuffle=True), Effort(1, None, 60.0), 10),
    ],
)
def test_steps_are_those_of_all_rounds_each_to_its_first_limit(batching: Batching, effort: Effort, each: int) -> None:
    made = planned(batching=batching, effort=effort)

    assert made.steps_per_round == made.round_spending.steps == each
    assert made.total.steps == 10 * each


def test_the_noise_is_that_of_all_steps_and_their_epsilon_no_more_than_the_budget() -> None:
    made = planned()

    sigma = noise_multiplier(BUDGET, sample_rate=100 / 1050, steps=100)
    assert made.total == Spending(sigma, 100 / 1050, 100)
    assert 7.9 < made.epsilon <= 8.0


def test_signal_to_noise_is_the_bound_over_the_length_that_noise_has() -> None:
    # Given noise of the planned deviation on a model of 10,000 parameters
    made = planned()
    noise = np.random.default_rng(0).normal(0.0, made.noise_std, 10_000)

    # Then a mean gradient of length 1 has that many times its length
    assert made.signal_to_noise(10_000) == pytest.approx(1 / np.linalg.norm(noise), rel=0.03)
    assert made.noise_std == pytest.approx(made.total.noise_multiplier / 100)


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    made = planned(n_samples=30)

    assert (made.total.sample_rate, made.batch) == (1.0, 30.0)


def test_rounds_that_only_time_ends_have_no_plan() -> None:
    with pytest.raises(ConfigError, match="only timeout_s ends"):
        planned(effort=Effort(None, None, 5.0))


@pytest.mark.parametrize(("n_samples", "rounds"), [(0, 1), (10, 0)])
def test_nothing_to_do_is_no_plan(n_samples: int, rounds: int) -> None:
    with pytest.raises(ConfigError, match="use at least 1 of each"):
        planned(n_samples=n_samples, rounds=rounds)
