"""What noisy steps cost, beside Opacus's own accountants."""

import math
import subprocess
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import create_accountant
from opacus.accountants.utils import get_noise_multiplier

from fl.core.privacy import accounting
from fl.core.privacy.accounting import Spending, epsilon, noise_multiplier
from fl.core.privacy.options import ACCOUNTANTS, Budget, PrivacyOptions
from fl.errors import ConfigError

DELTA = 1e-5
KINDS = [(1.0, 0.01, 100), (2.0, 0.1, 30), (0.7, 0.001, 1), (5.0, 1.0, 12)]


def by_opacus(accountant: str, history: list[tuple[float, float, int]], delta: float = DELTA) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gdp warns that it is experimental
        judge = create_accountant(accountant)
        judge.history = history
        return float(judge.get_epsilon(delta=delta))


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_epsilon_is_what_opacus_says(accountant: str, kind: tuple[float, float, int]) -> None:
    assert epsilon([Spending(*kind)], delta=DELTA, accountant=accountant) == by_opacus(accountant, [kind])


@settings(max_examples=40, deadline=None)
@given(
    kinds=st.lists(
        st.tuples(
            st.floats(-1, 3).map(lambda power: 10**power),
            st.sampled_from([1e-4, 0.003, 0.03, 0.2, 1.0]),
            st.sampled_from([1, 40, 3000]),
        ),
        min_size=1,
        max_size=2,
    ),
    delta=st.sampled_from([1e-10, 1e-5, 1e-2]),
)
def test_the_order_that_is_found_for_rdp_is_the_best_of_all(
    kinds: list[tuple[float, float, int]], delta: float
) -> None:
    found = epsilon([Spending(*kind) for kind in kinds], delta=delta, accountant="rdp")

    theirs = max(0.0, by_opacus("rdp", kinds, delta))
    assert theirs <= found * (1 + 1e-15) + 1e-15
    assert found == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_spendings_that_differ_are_composed_as_opacus_composes_them(accountant: str) -> None:
    together = epsilon([Spending(*kind) for kind in KINDS], delta=DELTA, accountant=accountant)

    assert together == pytest.approx(by_opacus(accountant, KINDS), rel=1e-9)
    assert together < sum(epsilon([Spending(*kind)], delta=DELTA, accountant=accountant) for kind in KINDS)


def test_gdp_of_spendings_that_differ_has_the_root_of_the_sum_of_squares_of_their_mu() -> None:
    # Given mu = q·√(T·(exp(1/σ²) - 1)) of each, and the dual of mu-GDP
    mu = math.sqrt(sum(q**2 * n * (math.exp(sigma**-2) - 1) for sigma, q, n in KINDS))

    # When they are composed
    found = epsilon([Spending(*kind) for kind in KINDS], delta=DELTA, accountant="gdp")

    # Then the dual gives delta back
    def normal(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    delta = normal(-found / mu + mu / 2) - math.exp(found) * normal(-found / mu - mu / 2)
    assert delta == pytest.approx(DELTA, rel=1e-6)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_steps_of_one_kind_cost_the_same_in_one_spending_and_in_many(accountant: str) -> None:
    once = epsilon([Spending(1.0, 0.1, 12)], delta=DELTA, accountant=accountant)

    assert epsilon([Spending(1.0, 0.1, 4)] * 3, delta=DELTA, accountant=accountant) == once


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@pytest.mark.parametrize(("rate", "steps"), [(0.01, 500), (0.1, 60), (1.0, 10)])
def test_the_noise_of_a_budget_spends_it_and_no_more_by_opacus_itself(accountant: str, rate: float, steps: int) -> None:
    sigma = noise_multiplier(Budget(3.0, DELTA, accountant), sample_rate=rate, steps=steps)

    assert 3.0 * 0.995 < by_opacus(accountant, [(sigma, rate, steps)]) <= 3.0


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_the_noise_of_a_budget_is_that_of_opacus_to_its_own_tolerance(accountant: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = get_noise_multiplier(
            target_epsilon=8.0, target_delta=DELTA, sample_rate=0.05, steps=200, accountant=accountant
        )

    ours = noise_multiplier(Budget(8.0, DELTA, accountant), sample_rate=0.05, steps=200)

    # a hundredth of epsilon, of 8
    assert ours == pytest.approx(theirs, rel=0.002)


@settings(max_examples=30, deadline=None)
@given(
    target=st.floats(0.3, 50),
    delta=st.sampled_from([1e-9, 1e-5, 1e-2]),
    rate=st.sampled_from([1e-4, 0.003, 0.03, 1.0]),
    steps=st.integers(1, 20_000),
    accountant=st.sampled_from(["rdp", "gdp"]),
)
def test_no_budget_is_exceeded_even_by_rounding(
    target: float, delta: float, rate: float, steps: int, accountant: str
) -> None:
    sigma = noise_multiplier(Budget(target, delta, accountant), sample_rate=rate, steps=steps)

    assert epsilon([Spending(sigma, rate, steps)], delta=delta, accountant=accountant) <= target


@settings(max_examples=30, deadline=None)
@given(
    sigma=st.floats(0.3, 30),
    rate=st.sampled_from([1e-3, 0.03, 1.0]),
    steps=st.integers(1, 3000),
    accountant=st.sampled_from(["rdp", "gdp"]),
)
def test_more_steps_never_cost_less(sigma: float, rate: float, steps: int, accountant: str) -> None:
    few = epsilon([Spending(sigma, rate, steps)], delta=DELTA, accountant=accountant)

    assert epsilon([Spending(sigma, rate, 2 * steps)], delta=DELTA, accountant=accountant) >= few


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@pytest.mark.parametrize("spendings", [[], [Spending(1.0, 0.5, 0)]])
def test_nothing_done_costs_nothing(accountant: str, spendings: list[Spending]) -> None:
    assert epsilon(spendings, delta=DELTA, accountant=accountant) == 0.0


def test_gdp_without_a_bound_says_infinity_and_never_less() -> None:
    assert epsilon([Spending(0.01, 1.0, 1)], delta=DELTA, accountant="gdp") == math.inf


def test_prv_says_what_rdp_says_where_its_grid_would_be_too_fine() -> None:
    much = [Spending(0.1, 1.0, 1000)]

    assert epsilon(much, delta=DELTA, accountant="prv") == epsilon(much, delta=DELTA, accountant="rdp")


def test_a_budget_out_of_reach_of_an_accountant_is_refused_with_what_it_can_reach() -> None:
    with pytest.raises(ConfigError, match=r"out of reach of accountant 'rdp': it says 0\.103"):
        noise_multiplier(Budget(0.05, DELTA), sample_rate=0.01, steps=10)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Budget(0.0, DELTA), "epsilon is 0.0: use a number above 0"),
        (lambda: Budget(math.nan, DELTA), "epsilon is nan"),
        (lambda: Budget(math.inf, DELTA), "epsilon is inf"),
        (lambda: Budget(1.0, 0.0), "delta is 0.0: use a number between 0 and 1"),
        (lambda: Budget(1.0, 1.0), "delta is 1.0"),
        (lambda: Budget(1.0, DELTA, "rpd"), "no accountant 'rpd': did you mean 'rdp'"),
        (lambda: PrivacyOptions(1.0, DELTA, 0.0), "sclip_norm is 0.0: use a number above 0"),
        (lambda: PrivacyOptions(-1.0, DELTA, 1.0), "epsilon is -1.0"),
        (lambda: Spending(1e-9, 0.1, 1), "noise_multiplier is 1e-09: use 0.01 to"),
        (lambda: Spending(1.0, 0.0, 1), "sample_rate is 0.0: use a number above 0 and at most 1"),
        (lambda: Spending(1.0, 1.1, 1), "sample_rate is 1.1"),
        (lambda: Spending(1.0, 0.5, -1), "steps are -1"),
        (lambda: noise_multiplier(Budget(1.0, DELTA), sample_rate=2.0, steps=1), "sample_rate is 2.0"),
        (lambda: noise_multiplier(Budget(1.0, DELTA), sample_rate=0.5, steps=0), "steps are 0"),
        (lambda: epsilon([], delta=2.0, accountant="rdp"), "delta is 2.0"),
        (lambda: epsilon([], delta=0.1, accountant="moments"), "no accountant 'moments'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_an_accountant_that_is_not_installed_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    accounting._arithmetic.cache_clear()
    accounting._opacus.cache_clear()
    monkeypatch.setitem(sys.modules, "opacus", None)

    with pytest.raises(ConfigError, match=r"needs opacus.*: install fluffle\[dp\]"):
        epsilon([Spending(1.234, 0.5, 1)], delta=DELTA, accountant="rdp")


def test_counting_by_rdp_imports_no_framework() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    assert told == ["False"]


_COUNT = """
import subprocess
import sys
from fl.core.privacy.accounting import noise_multiplier
from fl.core.privacy.options import Budget
for accountant in ("rdp", "gdp"):
    noise_multiplier(Budget(8.0, 1e-5, accountant), sample_rate=0.1, steps=10)
print("torch" in sys.modules)
"""
