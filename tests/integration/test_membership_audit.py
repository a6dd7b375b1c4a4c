"""Who was in the data: what an attacker who sees a site's model can tell, with noise and without."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fl.client.learner import Data, Learner, Shared
from fl.client.privacy import Policy
from fl.client.round_states import RecalledStates
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.privacy.accounting import epsilon
from fl.core.privacy.ledger import MemoryLedger
from fl.core.vector import Array
from fl.run.spec import RunSpec
from tests.integration.one_run_audit import CONFIDENCE, Guesses

CANARIES, ORDINARY, FEATURES = 1000, 500, 20
GUESSES = 400
ROUNDS, STEPS, BATCH = 4, 25, 200
DELTA, CLIP = 1e-5, 1.0


@dataclass(frozen=True, slots=True)
class Audited:
    """What a site's ledger says was spent, and what the model it trained gives away."""

    accounted: float
    shown: float
    """The lower bound of epsilon by the attacker's right guesses."""


def dealt(seed: int) -> tuple[InMemoryDataset, Array]:
    """Ordinary samples, and of the canaries those for which a fair coin says so; and the coins.

    Each canary has a feature that is 0 for everybody else, and all have the same label: nothing but its own presence
    moves that feature's coefficient, and always upwards.
    """
    rng = np.random.default_rng(seed)
    coins = rng.random(CANARIES) < 0.5
    x = np.zeros((ORDINARY + CANARIES, FEATURES + CANARIES))
    x[:ORDINARY, :FEATURES] = rng.normal(size=(ORDINARY, FEATURES))
    x[ORDINARY:, FEATURES:] = 10 * np.eye(CANARIES)  # long enough for every gradient to be clipped
    learnt = x[:ORDINARY, :FEATURES] @ rng.normal(size=FEATURES) > 0
    y = np.concatenate([learnt, np.ones(CANARIES, bool)]).astype(int)
    here = np.concatenate([np.ones(ORDINARY, bool), coins])
    return InMemoryDataset(x[here], y[here], expose_classes=True), coins


def a_spec(privacy: dict[str, Any]) -> RunSpec:
    return RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": {"kind": "classifier", "loss": "log_loss", "penalty": None}},
            "optim": {"client_opt": 0.5},
            "run": {
                "rounds": ROUNDS,
                "training": {"batch_size": BATCH, "n_steps": STEPS, "n_epoch": None},
                **privacy,
            },
        },
        "test",
    )


@cache
def audited(budget: float | None, seed: int) -> Audited:
    """A whole run of one site, at this epsilon or without noise, and the guesses of who looks at the last weights."""
    data, coins = dealt(seed)
    spec = a_spec({"privacy": {"budget": (budget, DELTA), "sclip_norm": CLIP}} if budget else {})
    model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
    info, ledger = data.get_data_specs(), MemoryLedger()
    model.initialize(info)
    weights = model.get_weights().to_numpy()
    learner = Learner(
        spec,
        Shared(info, weights.layout),
        Data(data),
        seed=bytes([seed]) * 32,
        run="audited",
        device=DevicePolicy(gpu=False),
        states=RecalledStates(),
    )
    if spec.run.privacy is not None:
        learner.settle_privacy(spec.run.privacy.options, Policy(ledger, lambda: 0.0), unprotected=())
    for round_ in range(1, ROUNDS + 1):
        weights = weights - learner.train(round_, weights, counted=round_ - 1).update
    guesses = Guesses.of(weights.flat[FEATURES : FEATURES + CANARIES], coins, made=GUESSES)
    spent = epsilon([line.entry.paid for line in ledger.lines()], delta=DELTA, accountant="rdp")
    return Audited(spent, guesses.least_epsilon(delta=DELTA))


@pytest.mark.parametrize(("budget", "seed"), [(1.0, 0), (1.0, 1), (3.0, 0), (8.0, 0), (8.0, 1)])
def test_a_private_model_gives_no_more_away_than_the_ledger_says(budget: float, seed: int) -> None:
    # Given, when a site has trained privately on what coins have chosen
    found = audited(budget, seed)
    # Then its guesses prove no epsilon above the accounted one
    assert found.shown <= found.accounted <= budget


@pytest.mark.parametrize("seed", [0, 1])
def test_without_noise_the_same_model_gives_away_more_than_a_private_one_may(seed: int) -> None:
    # Given, when the same samples are learned from without noise: 400 right guesses of 400 prove 4.86
    found = audited(None, seed)
    # Then that is far from nothing, and the same audit would not let it pass for an epsilon of 4
    assert found.shown > 4


@pytest.mark.parametrize("seed", [0, 1])
def test_the_audit_sees_how_much_a_large_budget_lets_through(seed: int) -> None:
    # Given, when the budget is large
    found = audited(8.0, seed)
    # Then the bound is no mere zero, which would never be above anything
    assert found.shown > 1


@pytest.mark.parametrize(("made", "right"), [(10, 10), (100, 75), (400, 400), (1000, 620)])
def test_without_delta_the_least_epsilon_is_that_of_clopper_and_pearson(made: int, right: int) -> None:
    # Given the exact lower bound of a binomial's probability (1934), by a beta distribution
    least = stats.beta.ppf(1 - CONFIDENCE, right, made - right + 1)
    # When, then: right guesses have the odds e^epsilon
    assert Guesses(1000, made, right).least_epsilon(delta=0.0) == pytest.approx(np.log(least / (1 - least)), abs=1e-6)


def test_guesses_no_better_than_a_coin_prove_nothing() -> None:
    # Given, when half of all guesses are right; then
    assert Guesses(1000, 400, 200).least_epsilon(delta=DELTA) == 0


def test_what_delta_adds_to_the_chance_is_that_of_the_theorem() -> None:
    # Given so few guesses that each way they may turn out is counted
    made, right, q, delta = 8, 6, 1 / (1 + np.exp(-0.7)), 1e-3
    worth: dict[int, float] = {}
    for ways in product((False, True), repeat=made):
        worth[sum(ways)] = worth.get(sum(ways), 0.0) + q ** sum(ways) * (1 - q) ** (made - sum(ways))
    beta = sum(worth[w] for w in range(right, made + 1))
    alpha = max(2 / i * sum(worth[w] for w in range(right - i, right)) for i in range(1, right + 1))
    # When, then
    found = Guesses(50, made, right).chance(epsilon=0.7, delta=delta)
    assert found == pytest.approx(beta + 50 * delta * alpha, rel=1e-9)


def test_the_surest_scores_are_guessed_and_those_between_are_left() -> None:
    # Given scores of which the lowest two and the highest two are told, one of them wrongly
    scores, coins = np.array([0.0, 9.0, 5.0, 1.0, 8.0, 4.0]), np.array([False, True, True, True, True, False])
    # When, then
    assert Guesses.of(scores, coins, made=4) == Guesses(canaries=6, made=4, right=3)
