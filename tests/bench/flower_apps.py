"""Flower's two apps, in an environment that has Flower: copied into the folder of an app that `flwr run` takes up."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # type: ignore[import-not-found]  # elsewhere
from flwr.clientapp import ClientApp  # type: ignore[import-not-found]  # likewise
from flwr.serverapp import Grid, ServerApp  # type: ignore[import-not-found]  # likewise
from flwr.serverapp.strategy import FedAvg  # type: ignore[import-not-found]  # likewise

from tests.bench.constants import gradients_of, weights_of
from tests.bench.telling import tell_done, tell_idle, tell_round

RATE: Final = np.float32(0.01)

server = ServerApp()
client = ClientApp()


class Averaging(FedAvg):  # type: ignore[misc]  # its base is installed elsewhere
    """Tells when each round of training has ended."""

    last_round = 0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        averaged = super().aggregate_train(server_round, replies)
        tell_round()
        if server_round == self.last_round:
            tell_done()
        return averaged


@server.main()  # type: ignore[untyped-decorator]  # likewise
def lead(grid: Grid, context: Context) -> None:
    tell_idle()
    n_clients, n_bytes = int(context.run_config["n-clients"]), int(context.run_config["n-bytes"])
    strategy = Averaging(fraction_evaluate=0.0, min_train_nodes=n_clients, min_available_nodes=n_clients)
    strategy.last_round = int(context.run_config["n-rounds"]) + 1
    start = ArrayRecord(list(weights_of(n_bytes).values()))
    strategy.start(grid=grid, initial_arrays=start, num_rounds=strategy.last_round)


@client.train()  # type: ignore[untyped-decorator]  # likewise
def train(message: Message, context: Context) -> Message:
    weights = message.content["arrays"].to_numpy_ndarrays()
    gradients = gradients_of(int(context.run_config["n-bytes"])).values()
    trained = [one - RATE * gradient for one, gradient in zip(weights, gradients, strict=True)]
    content = RecordDict({"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=content, reply_to=message)
