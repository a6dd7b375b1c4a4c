"""One model for many clients: nobody sees what another has left in it."""

import numpy as np
import pytest

from fl.client.learner import Data, Shared
from fl.core.data_info import DataInfo
from fl.core.dataset import InMemoryDataset
from fl.core.model import Model
from fl.core.vector import NumpyVector
from fl.main.simulation_crowd import Crowd, Unable, VirtualClient
from fl.run.spec import RunSpec


def crowd_of(modules: list[object], *names: str, batch_size: int = 4) -> tuple[Crowd, NumpyVector]:
    """Clients with the same data, and the weights to start from."""
    spec = RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": {"kind": "regressor", "penalty": None}},
            "optim": {"client_opt": {"lrate": 0.1, "modules": modules}},
            "run": {"rounds": 3, "training": {"batch_size": batch_size}, "seed": 5},
        },
        "test",
    )
    rng = np.random.default_rng(0)
    data = Data(InMemoryDataset(rng.normal(size=(8, 3)), rng.normal(size=8)))
    info = DataInfo(8, 3)
    start = Model.registry.get(spec.model.kind).initial_weights(spec.model.config, info)
    assert start is not None
    crowd = Crowd(spec, [VirtualClient(name, data) for name in names], run="r")
    crowd.initialise(Shared(info, start.layout))
    return crowd, start


def test_momentum_of_one_client_is_not_that_of_the_next() -> None:
    crowd, start = crowd_of([["momentum", {"beta": 0.9}]], "ant", "bee")

    first = crowd.train("ant", 1, start, counted=0, aux={})
    crowd.train("ant", 2, start, counted=1, aux={})
    alike = crowd.train("bee", 1, start, counted=0, aux={})

    assert alike.update == first.update


def test_momentum_of_a_client_goes_on_though_others_have_trained_between() -> None:
    crowd, start = crowd_of([["momentum", {"beta": 0.9}]], "ant", "bee")
    alone, _ = crowd_of([["momentum", {"beta": 0.9}]], "ant")

    crowd.train("ant", 1, start, counted=0, aux={})
    crowd.train("bee", 1, start, counted=0, aux={})
    between = crowd.train("ant", 2, start, counted=1, aux={})
    alone.train("ant", 1, start, counted=0, aux={})
    undisturbed = alone.train("ant", 2, start, counted=1, aux={})

    assert between.update == undisturbed.update


def test_noise_that_has_no_seed_is_another_for_each_client() -> None:
    crowd, start = crowd_of([["gaussian-noise", {"safe_mode": False}]], "ant", "bee")

    noisy = [crowd.train(name, 1, start, counted=0, aux={}).update for name in ("ant", "bee")]

    assert noisy[0] != noisy[1]


def test_a_client_that_needs_no_state_is_not_told_to_have_lost_it(caplog: pytest.LogCaptureFixture) -> None:
    crowd, start = crowd_of([], "ant")

    crowd.train("ant", 1, start, counted=0, aux={})
    crowd.evaluate("ant", start, counted=1)

    assert caplog.records == []


def test_what_a_client_cannot_do_is_told_in_one_line() -> None:
    crowd, start = crowd_of([], "ant", batch_size=9)

    with pytest.raises(Unable, match="batch_size=9 with drop_remainder leaves no batch of the 8 samples here"):
        crowd.train("ant", 1, start, counted=0, aux={})
