"""`python -m fl.examples.scripts.torch_server amqp://… 4`: the hospitals train a network of torch.

Data: `python -m fl.examples.heart hospitals`. Each hospital runs `fl.examples.scripts.client`.
"""

import sys
from pathlib import Path

import torch

import fl
from fl.communication import NetworkServerConfig
from fl.examples.heart.schema import FEATURES
from fl.main import Outcome


def run_server(netwk: NetworkServerConfig, outputs: Path, *, sites: int) -> Outcome:
    """Lead a run of so many sites to its end; its best weights and its history are in `outputs`."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(len(FEATURES), 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    model = fl.model.torch.TorchModel(network, torch.nn.BCEWithLogitsLoss())
    optim = fl.main.config.FLOptimConfig.from_params(
        aggregator="averaging",
        client_opt={"lrate": 0.02, "modules": [("momentum", {"beta": 0.9})]},
    )
    server = fl.main.FederatedServer(model, netwk, optim, metrics=["binary-classif"], checkpoint=outputs)
    config = fl.main.config.FLRunConfig.from_params(
        rounds=10,
        register=sites,
        training={"n_epoch": 1, "batch_size": 16, "shuffle": True, "drop_remainder": False},
        early_stop={"patience": 3},
    )
    return server.run(config)


if __name__ == "__main__":
    broker = NetworkServerConfig(protocol="rabbitmq", uri=sys.argv[1])
    outcome = run_server(broker, Path("outputs"), sites=int(sys.argv[2]))
    print(outcome.history.table()[-1])  # noqa: T201  # the script's output
