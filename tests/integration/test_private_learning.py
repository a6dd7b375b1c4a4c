"""A private run at one site, without messages: noise, and what doing a round again costs."""

import errno
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fl.client.disk import NoRoom
from fl.client.learner import Data, Learner, Shared
from fl.client.privacy import Policy
from fl.client.round_states import RecalledStates
from fl.core.dataset import InMemoryDataset
from fl.core.device import DevicePolicy
from fl.core.model import Model
from fl.core.privacy.ledger import Accounts, Ledger, MemoryLedger, epsilons
from fl.core.vector import NumpyVector
from fl.errors import BudgetSpent, ConfigError
from fl.run.spec import RunSpec
from tests.integration.world import regression

N, B, D = 50, 10, 6


def a_spec(*, rounds: int = 2, lrate: float = 0.1, **privacy: Any) -> RunSpec:
    return RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": {"kind": "regressor", "loss": "squared_error", "penalty": None}},
            "optim": {"client_opt": {"lrate": lrate, "modules": ["momentum"]} if lrate != 1 else lrate},
            "run": {
                "rounds": rounds,
                "training": {"batch_size": B, "n_steps": 1 if lrate == 1 else 4, "n_epoch": None},
                "privacy": {"budget": (3.0, 1e-3), "sclip_norm": 0.5, **privacy},
            },
        },
        "test",
    )


class Site:
    """A learner and its accounts; `again` is the same site after a restart."""

    def __init__(self, spec: RunSpec, data: Data, accounts: Accounts, *, seed: bytes = b"s" * 32) -> None:
        self.accounts = accounts
        model = Model.registry.get(spec.model.kind).from_config(spec.model.config)
        info = data.train.get_data_specs()
        model.initialize(info)
        self.start = model.get_weights().to_numpy()
        self.learner = Learner(
            spec,
            Shared(info, self.start.layout),
            data,
            seed=seed,
            run="r",
            device=DevicePolicy(gpu=False),
            states=RecalledStates(),
        )
        privacy = spec.run.privacy
        assert privacy is not None
        self.terms = self.learner.settle_privacy(privacy.options, Policy(accounts, lambda: 0.0), unprotected=())

    def update(self, round_: int, weights: NumpyVector, counted: int = 0) -> NumpyVector:
        return self.learner.train(round_, weights, counted=counted).update


def test_a_round_that_is_done_again_gives_the_same_bits_and_costs_nothing() -> None:
    # Given a site that has trained, and is started again
    accounts = MemoryLedger()
    first = Site(a_spec(), regression(0, N), accounts)
    update = first.update(1, first.start)
    again = Site(a_spec(), regression(0, N), accounts)
    # When
    repeated = again.update(1, again.start)
    # Then
    assert np.array_equal(update.flat, repeated.flat)
    assert len(accounts.lines()) == 1


def test_a_round_from_other_weights_has_other_noise_and_is_paid_for_again() -> None:
    # Given samples that pull at no weight, so that an update is noise and nothing else
    x, y = np.zeros((N, D)), np.zeros(N)
    site = Site(a_spec(lrate=1), Data(InMemoryDataset(x, y)), MemoryLedger())
    here, there = site.start, site.start.copy()
    there.flat[:D] = 1.0  # the features are zero: the gradient does not change with these
    # When
    one, other = site.update(1, here), site.update(1, there)
    # Then
    assert not np.any(one.flat == other.flat)
    assert len(site.accounts.lines()) == 2


def test_a_round_of_another_spec_has_other_noise_and_is_paid_for_again() -> None:
    """Otherwise whoever initialises a run twice could take the noise off."""
    # Given one spec and another of the same noise, and samples that pull at no weight in either
    accounts, data = MemoryLedger(), Data(InMemoryDataset(np.zeros((N, D)), np.zeros(N)))
    spec = a_spec(lrate=1)
    model = spec.model.model_copy(update={"config": {**spec.model.config, "loss": "huber"}})
    one, other = (Site(each, data, accounts) for each in (spec, spec.model_copy(update={"model": model})))
    assert one.terms.noise_multiplier == other.terms.noise_multiplier
    # When both train the same round from the same weights
    updates = [site.update(1, site.start).flat for site in (one, other)]
    # Then
    assert not np.any(updates[0] == updates[1])
    assert len(accounts.lines()) == 2


def test_another_seed_is_other_noise() -> None:
    updates = [Site(a_spec(), regression(0, N), MemoryLedger(), seed=seed * 32).learner for seed in (b"a", b"b")]
    start = Site(a_spec(), regression(0, N), MemoryLedger()).start

    one, other = (learner.train(1, start).update for learner in updates)

    assert not np.any(one.flat == other.flat)


def test_nothing_is_trained_beyond_the_budget_and_nothing_is_paid_then() -> None:
    # Given a run of two rounds that has done its first one twice, from different weights
    site = Site(a_spec(rounds=2), regression(0, N), MemoryLedger())
    site.update(1, site.start)
    weights = site.start * 2.0
    update = site.update(1, site.start + 1.0)
    # When it is to do the second one
    with pytest.raises(BudgetSpent, match=r"after 4 steps of round 2, run 'r' would have spent epsilon=3\.\d+ at"):
        site.learner.train(2, weights - update, counted=1)
    # Then
    assert [line.entry.round_ for line in site.accounts.lines()] == [1, 1]
    assert max(epsilons(site.accounts.lines())) <= 3.0


@pytest.mark.parametrize("use_csprng", [False, True])
def test_an_update_of_one_step_has_noise_of_clip_times_multiplier_over_batch_size(use_csprng: bool) -> None:
    # Given data without any gradient, and many weights
    wide = 20_000
    data = Data(InMemoryDataset(np.zeros((N, wide)), np.zeros(N)))
    site = Site(a_spec(lrate=1, use_csprng=use_csprng), data, MemoryLedger())
    # When
    update = site.update(1, site.start)
    # Then: a learning rate of 1 makes the step the noisy gradient; the intercept's is 0 like the others
    expected = site.terms.noise_multiplier * 0.5 / B
    assert update.flat.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * wide))
    assert stats.kstest(update.flat / expected, "norm").pvalue > 1e-4


def test_a_site_that_was_not_asked_about_privacy_does_not_train() -> None:
    site = Site(a_spec(), regression(0, N), MemoryLedger())
    site.learner._private = None

    with pytest.raises(ConfigError, match="this run is private, and nothing was settled about that"):
        site.update(1, site.start)


@pytest.mark.parametrize("changed", [{"epsilon": 30.0}, {"sclip_norm": 5.0}, {"use_csprng": True}])
def test_a_site_settles_nothing_but_what_the_spec_asks_for(changed: dict[str, Any]) -> None:
    spec = a_spec()
    assert spec.run.privacy is not None
    site = Site(spec, regression(0, N), MemoryLedger())

    with pytest.raises(ConfigError, match="asks for other privacy than the run's spec"):
        site.learner.settle_privacy(
            replace(spec.run.privacy.options, **changed), Policy(MemoryLedger(), lambda: 0.0), unprotected=()
        )


def test_without_room_for_the_ledger_nothing_is_trained_and_the_request_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a ledger on a disk that is full
    site = Site(a_spec(), regression(0, N), Ledger(tmp_path / "ledger.jsonl"))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fl.core.privacy.ledger.os.write", full)
        # When
        with pytest.raises(NoRoom, match=r"ledger\.jsonl cannot be written: No space left on device"):
            site.update(1, site.start)
    # Then
    assert site.accounts.lines() == []
    site.update(1, site.start)
    assert len(site.accounts.lines()) == 1
