"""Runs to disturb: each has something else that must survive."""

from functools import cache
from typing import Any, Final

from broker.chaos import Fault, Schedule
from fl.run.spec import RunSpec
from tests.faults.chaos_world import Case, Ending, whole_run
from tests.integration.world import regression

NAMES: Final = ("ant", "bee", "cat")
BULK_FEATURES: Final = 33_000
"""So many numbers in float64 are more than a message carries."""


def _case(name: str, *, clients: int = 2, n_features: int = 3, optim: dict[str, Any] | None = None, **run: Any) -> Case:
    data = {client: regression(seed, 6, n_features) for seed, client in enumerate(NAMES[:clients])}
    training = {"batch_size": 3, "shuffle": True}
    table = {"rounds": 2, "register": clients, "seed": 7, "training": training, **run}
    config = {"kind": "regressor", "loss": "squared_error", "penalty": None}
    spec = RunSpec.parse(
        {
            "model": {"kind": "sklearn-sgd", "config": config},
            "optim": optim or {"client_opt": 0.01},
            "run": table,
            "metrics": ["mse"],
        },
        name,
    )
    return Case(name, spec, data)


SMALL: Final = (
    _case("plain"),
    _case("stateful", optim={"preset": "FedAdam", "client_opt": {"lrate": 0.01, "modules": ["momentum"]}}),
    _case("aux", optim={"preset": "SCAFFOLD", "client_opt": 0.01}),
    _case("sampling", clients=3, sampling=2, evaluate={"clients": 2}),
    _case("no evaluation", evaluate=False),
    _case("shards", clients=3, shards=2),
    _case("early stop", rounds=5, early_stop={"tolerance": 1e6, "patience": 1}),
)
BULK: Final = (
    _case("bulk", n_features=BULK_FEATURES),
    _case("bulk aux", n_features=BULK_FEATURES, optim={"preset": "SCAFFOLD", "client_opt": 1e-6}),
    _case("bulk shards", n_features=BULK_FEATURES, optim={"preset": "SCAFFOLD", "client_opt": 1e-6}, shards=2),
)


CASES: Final = {case.name: case for case in (*SMALL, *BULK)}


@cache
def undisturbed(name: str) -> tuple[Ending, dict[Fault, int]]:
    """What a run comes to when nothing happens, and how many chances there are for each fault."""
    schedule = Schedule()
    return whole_run(CASES[name], schedule), dict(schedule.chances)
