"""Algorithms by name: what they are made of, and a round of each against its paper."""

import json

import numpy as np
import pytest

from fl.core.aggregator import Aggregator
from fl.core.optimizer import Optimizer, Scheduler
from fl.core.optimizer.presets import PRESETS, preset
from fl.core.vector import NumpyVector
from fl.errors import ConfigError
from fl.run.optim import OptimConfig

UPDATES = np.random.default_rng(0).normal(size=(5, 3))
"""Aggregated updates of five rounds: what the papers call -Δ."""


def after_rounds(name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The server's weights, from zero, after each of the updates has been taken in."""
    server = Optimizer.from_config(preset(name, client_lrate=0.1)["server_opt"])
    weights = NumpyVector.from_arrays({"w": np.zeros(3)})
    for update in UPDATES:
        server.start_round(weights)
        weights = weights - server.compute_updates(weights, NumpyVector.from_arrays({"w": update}))
    return weights.flat


def reddi(*, yogi: bool = False, adagrad: bool = False) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Algorithm 2 of Reddi et al. 2021, line by line."""
    beta_1, beta_2, tau, eta = (0.0 if adagrad else 0.9), 0.99, 1e-3, 10**-1.5
    x, m, v = np.zeros(3), np.zeros(3), np.full(3, tau**2)
    for delta in -UPDATES:
        m = beta_1 * m + (1 - beta_1) * delta
        if adagrad:
            v = v + delta**2
        elif yogi:
            v = v - (1 - beta_2) * delta**2 * np.sign(v - delta**2)
        else:
            v = beta_2 * v + (1 - beta_2) * delta**2
        x = x + eta * m / (np.sqrt(v) + tau)
    return x


@pytest.mark.parametrize(
    ("name", "options"), [("fedadam", {}), ("fedyogi", {"yogi": True}), ("fedadagrad", {"adagrad": True})]
)
def test_the_adaptive_servers_are_algorithm_2_of_their_paper(name: str, options: dict[str, bool]) -> None:
    np.testing.assert_allclose(after_rounds(name), reddi(**options), rtol=1e-10)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold"])
def test_the_servers_of_the_others_take_off_the_mean_update(name: str) -> None:
    np.testing.assert_allclose(after_rounds(name), -UPDATES.sum(0))


def test_fedavgm_sums_up_decaying_updates() -> None:
    x, v = np.zeros(3), np.zeros(3)
    for update in UPDATES:
        v = 0.9 * v + update
        x = x - v
    np.testing.assert_allclose(after_rounds("fedavgm"), x)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_a_run_can_be_asked_for(name: str) -> None:
    options = json.loads(json.dumps(preset(name, client_lrate=0.1)))
    config = OptimConfig(**options)
    for table in (config.client_opt, config.server_opt):
        assert Optimizer.from_config(table).get_config()["w_decay"] == 0
    aggregator = Aggregator.registry.get(config.aggregator.name).from_config(config.aggregator.config)
    assert aggregator.name == "averaging"


@pytest.mark.parametrize(("name", "expected"), [("fedavg", 30), ("fedadam", 30), ("scaffold", 1)])
def test_clients_count_by_samples_and_for_scaffold_one_each(name: str, expected: float) -> None:
    plugin = preset(name, client_lrate=0.1)["aggregator"]
    aggregator = Aggregator.registry.build((plugin["name"], plugin["config"]))
    assert aggregator.weight(client="a", n_steps=5, n_samples=30) == expected  # type: ignore[attr-defined]  # averaging


@pytest.mark.parametrize("name", ["FedAdam", "FEDADAM", "fedadam"])
def test_the_case_of_a_name_does_not_matter(name: str) -> None:
    assert preset(name, client_lrate=0.1) == preset("fedadam", client_lrate=0.1)


def test_rates_may_be_given_and_may_be_schedulers() -> None:
    schedule = Scheduler.registry.build(("linear", {"base": 1.0, "n": 10}))
    options = preset("fedyogi", client_lrate=schedule, server_lrate=1)
    assert options["client_opt"]["lrate"][0] == "linear"
    assert options["server_opt"]["lrate"] == 1.0


def test_what_is_done_to_one_table_does_not_show_in_the_next() -> None:
    preset("fedadam", client_lrate=0.1)["server_opt"]["modules"][0][1]["eps"] = 9
    assert preset("fedadam", client_lrate=0.1)["server_opt"]["modules"][0][1]["eps"] == 1e-3


def test_an_unknown_algorithm_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown algorithm 'FedAdan'; did you mean 'fedadam'"):
        preset("FedAdan", client_lrate=0.1)
