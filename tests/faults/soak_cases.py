"""The runs of a soak: each has something else that must survive, and none is ever done without a client."""

from dataclasses import dataclass, replace
from typing import Any, Final

from fl.run.spec import RunSpec
from tests.faults.stage import CLIENTS, OPTIM
from tests.integration.world import make_spec

FEW_FEATURES: Final = 6
BULK_FEATURES: Final = 40_000
"""So many numbers in float64 are more than a message carries."""
LONG_S: Final = 86_400.0

ALL_ARE_AWAITED: Final[dict[str, Any]] = {
    "min_replies": 1.0,
    "gone_after": LONG_S,
    "patience": LONG_S,
    "set_aside_after": 0,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A spec, how many features the data have that it trains on, and whose trainers are processes."""

    name: str
    spec: RunSpec
    n_features: int = FEW_FEATURES
    processes: tuple[str, ...] = ()


def _case(name: str, optim: dict[str, Any], *, rounds: int, n_features: int = FEW_FEATURES, **run: Any) -> Case:
    plain = make_spec(rounds=rounds, clients=len(CLIENTS), training={"batch_size": 2}, **ALL_ARE_AWAITED, **run)
    spec = RunSpec.parse({**plain.model_dump(by_alias=True), "name": name, "optim": optim}, name)
    return Case(name, spec, n_features)


SHORT: Final = (
    _case("stateful", {"preset": "FedAdam", "client_opt": {"lrate": 0.01, "modules": ["momentum"]}}, rounds=20),
    _case("bulk", OPTIM, rounds=10, n_features=BULK_FEATURES),
    _case("scaffold", {"preset": "SCAFFOLD", "client_opt": 0.01}, rounds=20),
    _case("shards", OPTIM, rounds=10, n_features=BULK_FEATURES, shards=2),
    _case("sampling", {"client_opt": 0.01}, rounds=20, sampling=2, evaluate={"clients": 2}),
)
MOMENTUM_TOO: Final = {"preset": "SCAFFOLD", "client_opt": {"lrate": 0.01, "modules": ["momentum"]}}
PROCESSES: Final = replace(_case("processes", MOMENTUM_TOO, rounds=10), processes=("cat",))
"""A trainer that dies makes its client fail in its round, and the run pause; it takes seconds to start."""
CASES: Final = (*SHORT, PROCESSES)
