"""`python -m fl.examples.scripts.keras_server amqp://… 4`: the hospitals train a network of Keras, by FedYogi.

Data: `python -m fl.examples.heart hospitals`. Each hospital runs `fl.examples.scripts.client`.
"""

import sys
from pathlib import Path

import keras

import fl
from fl.communication import NetworkServerConfig
from fl.examples.heart.schema import FEATURES
from fl.main import Outcome


def run_server(netwk: NetworkServerConfig, outputs: Path, *, sites: int) -> Outcome:
    """Lead a run of so many sites to its end; its best weights and its history are in `outputs`."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.layers.Input((len(FEATURES),)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model = fl.model.tensorflow.TensorflowModel(network, keras.losses.BinaryCrossentropy(from_logits=True))
    optim = fl.main.config.FLOptimConfig.from_params(preset="fedyogi", client_opt=0.05)
    server = fl.main.FederatedServer(model, netwk, optim, metrics=["binary-classif"], checkpoint=outputs)
    config = fl.main.config.FLRunConfig.from_params(
        rounds=10,
        register=sites,
        training={"n_epoch": 1, "batch_size": 16, "shuffle": True, "drop_remainder": False},
    )
    return server.run(config)


if __name__ == "__main__":
    broker = NetworkServerConfig(protocol="rabbitmq", uri=sys.argv[1])
    outcome = run_server(broker, Path("outputs"), sites=int(sys.argv[2]))
    print(outcome.history.table()[-1])  # noqa: T201  # the script's output
