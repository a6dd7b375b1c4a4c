"""The run that all campaigns play: bulk weights, momentum and control variates at the sites, Adam at the server.

Every state that a run can have matters to its bits, and every bulk has more than one chunk.
"""

from functools import cache
from typing import Any, Final

import numpy as np

from fl.client.learner import Data
from fl.core.dataset import InMemoryDataset
from fl.run.spec import RunSpec
from tests.integration.world import make_spec, samples

CLIENTS: Final = ("ant", "bee", "cat")
N_FEATURES: Final = 150_000
"""1.2 MB of weights: two chunks."""

OPTIM: Final[dict[str, dict[str, Any]]] = {
    "client_opt": {"lrate": 1e-7, "modules": [("momentum", {"beta": 0.9}), ("scaffold-client", {})]},
    "server_opt": {"lrate": 1e-3, "modules": [("scaffold-server", {}), ("adam", {})]},
}


def make_run(rounds: int = 2, **changes: Any) -> RunSpec:
    """So many rounds of training, each with an evaluation; `changes` go to the run's table."""
    plain = make_spec(rounds=rounds, clients=len(CLIENTS), training={"batch_size": 2}, **changes)
    return RunSpec.parse({**plain.model_dump(by_alias=True), "name": "killed", "optim": OPTIM}, "the stage")


def samples_of(client: str, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and target."""
    return samples(CLIENTS.index(client), n=4, n_features=n_features)


@cache
def data_of(client: str, n_features: int = N_FEATURES) -> Data:
    """Evaluated on what it trains on: so few samples of so many features teach nothing about others."""
    return Data(InMemoryDataset(*samples_of(client, n_features)))
