"""declearn's server and clients, in an environment that has declearn: `python -m tests.bench.declearn_parties`.

Its model is a subclass of ours whose gradient is the same on every batch. Weights and updates take the whole way that
they take with any other numpy model.
"""

import argparse
from typing import Any

import numpy as np
from declearn.communication import build_client, build_server  # type: ignore[import-not-found]  # installed elsewhere
from declearn.dataset import InMemoryDataset  # type: ignore[import-not-found]  # likewise
from declearn.main import FederatedClient, FederatedServer  # type: ignore[import-not-found]  # likewise
from declearn.main.config import FLOptimConfig, FLRunConfig  # type: ignore[import-not-found]  # likewise
from declearn.model.api import Model  # type: ignore[import-not-found]  # likewise
from declearn.model.sklearn import NumpyVector  # type: ignore[import-not-found]  # likewise
from declearn.utils import DevicePolicy  # type: ignore[import-not-found]  # likewise

from tests.bench.constants import gradients_of, weights_of
from tests.bench.telling import tell, tell_done, tell_idle, tell_round

RATE = 0.01
"""Of the clients' optimizers."""


class ConstantModel(Model):  # type: ignore[misc]  # its base is installed elsewhere
    """Its gradient is the same on every batch. There is nothing to predict."""

    typekey = "bench-constant"

    def __init__(self, n_bytes: int) -> None:
        super().__init__(model=None)
        self.n_bytes = n_bytes
        self._weights = NumpyVector(weights_of(n_bytes))
        self._gradients = NumpyVector(gradients_of(n_bytes))

    def get_config(self, allow_bin: bool = False) -> dict[str, Any]:
        return {**super().get_config(allow_bin), "n_bytes": self.n_bytes}

    @classmethod
    def from_config(cls, config: dict[str, Any], allow_bin: bool = False) -> "ConstantModel":
        return cls(config["n_bytes"])

    @property
    def device_policy(self) -> DevicePolicy:
        return DevicePolicy(gpu=False, idx=None)

    @property
    def required_data_info(self) -> set[str]:
        return set()

    def initialize(self, data_info: dict[str, Any]) -> None:
        """Nothing depends on the data."""

    def get_weights(self, trainable: bool = False) -> NumpyVector:
        return NumpyVector({name: one.copy() for name, one in self._weights.coefs.items()})

    def set_weights(self, weights: NumpyVector, trainable: bool = False) -> None:
        self._weights = weights

    def compute_batch_gradients(self, batch: Any, max_norm: float | None = None) -> NumpyVector:
        self._loss_history.append(0.0)
        return self._gradients

    def apply_updates(self, updates: NumpyVector) -> None:
        self._weights = self._weights - updates

    def compute_batch_predictions(self, batch: Any) -> Any:
        return np.zeros(1), np.zeros(1), None

    def loss_function(self, y_true: Any, y_pred: Any) -> Any:
        return np.zeros(1)

    def update_device_policy(self, policy: DevicePolicy | None = None) -> None:
        """There is no GPU here."""


class Server(FederatedServer):  # type: ignore[misc]  # its base is installed elsewhere
    """Tells when it listens, and when each round of training has ended."""

    async def initialization(self, config: FLRunConfig) -> None:
        tell("listening")
        await super().initialization(config)

    async def training_round(self, round_i: int, *arguments: Any, **options: Any) -> None:
        await super().training_round(round_i, *arguments, **options)
        tell_round()
        if round_i == self.last_round:
            tell_done()

    last_round = 0


def serve(options: argparse.Namespace) -> None:
    tell_idle()
    network = build_server(options.protocol, "127.0.0.1", options.port, heartbeat=options.heartbeat)
    server = Server(ConstantModel(options.n_bytes), network, FLOptimConfig.from_params(client_opt=RATE))
    server.last_round = options.n_rounds + 1
    server.run(
        FLRunConfig.from_params(
            rounds=server.last_round,
            register=options.n_clients,
            training={"batch_size": 1, "drop_remainder": False},
            evaluate={"batch_size": 1, "frequency": server.last_round + 1},
        )
    )


def take_part(options: argparse.Namespace) -> None:
    scheme = {"grpc": "", "websockets": "ws://"}[options.protocol]
    network = build_client(options.protocol, f"{scheme}127.0.0.1:{options.port}", options.client)
    FederatedClient(network, InMemoryDataset(np.ones((1, 1)), np.ones(1)), verbose=False).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("n_bytes", "n_clients", "n_rounds", "port"):
        parser.add_argument(name, type=int)
    parser.add_argument("protocol", choices=("grpc", "websockets"))
    parser.add_argument("heartbeat", type=float)
    parser.add_argument("--client", help="be the client of this name")
    options = parser.parse_args()
    if options.client is None:
        serve(options)
    else:
        take_part(options)


if __name__ == "__main__":
    main()
