"""declearn's part in `tests.bench.privacy_peer`, run by the interpreter of its own environment.

Its server and its clients, over its own websockets, are in one process: nothing is said here about their speed. Their
privacy is their own, but for one thing that changes no figure: Opacus's divergence of a step, which declearn asks for
again at every step, is remembered. It takes a run of five sites from many minutes to less than one.
"""

import asyncio
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from declearn.communication import build_client, build_server  # type: ignore[import-not-found]  # installed elsewhere
from declearn.dataset import InMemoryDataset  # type: ignore[import-not-found]  # likewise
from declearn.main import FederatedClient, FederatedServer  # type: ignore[import-not-found]  # likewise
from declearn.main.config import FLOptimConfig, FLRunConfig  # type: ignore[import-not-found]  # likewise
from declearn.model.torch import TorchModel, TorchVector  # type: ignore[import-not-found]  # likewise
from declearn.utils import set_device_policy  # type: ignore[import-not-found]  # likewise
from opacus.accountants.analysis import rdp
from torch import nn

from broker.processes import free_ports
from tests.bench.privacy_trial import Learned, Samples, Trial, read_samples, read_trials
from tests.bench.telling import tell

HEARTBEAT_S = 0.01
"""How often its server looks for messages."""


class NotedModel(TorchModel):  # type: ignore[misc]  # its base is installed elsewhere
    """Keeps the mean square of the elements of each update."""

    typekey = "bench-noted-torch"

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__(model, loss)
        self.squares: list[float] = []

    def apply_updates(self, updates: TorchVector) -> None:
        flat = torch.cat([one.flatten() for one in updates.coefs.values()])
        self.squares.append(float(flat.double().square().mean()))
        super().apply_updates(updates)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")  # of pickles, of orders of divergence, of hardware that is not there
    torch.set_num_threads(1)
    set_device_policy(gpu=False)
    remember_divergences()
    for trial in read_trials(folder):
        tell("learned", **asdict(asyncio.run(learn(trial, *read_samples(folder / trial.file)))))


def remember_divergences() -> None:
    """That of several steps is as often that of one (Mironov 2017, proposition 1), as Opacus has it too."""
    compute = rdp.compute_rdp

    @cache
    def of_step(rate: float, sigma: float, orders: tuple[float, ...]) -> Any:
        return compute(q=rate, noise_multiplier=sigma, steps=1, orders=orders)

    def remembered(*, q: float, noise_multiplier: float, steps: int, orders: Sequence[float]) -> Any:
        return of_step(q, noise_multiplier, tuple(orders)) * steps

    rdp.compute_rdp = remembered


async def learn(trial: Trial, sites: dict[str, Samples], test: Samples) -> Learned:
    module, loss = trial.network()
    (port,) = free_ports(1)
    server = FederatedServer(
        NotedModel(for_single_samples(module), loss),
        build_server("websockets", "127.0.0.1", port, heartbeat=HEARTBEAT_S),
        FLOptimConfig.from_params(client_opt=trial.lrate),
    )
    clients = [
        FederatedClient(
            build_client("websockets", f"ws://127.0.0.1:{port}", name),
            InMemoryDataset(x, y, seed=trial.seed * len(sites) + place),
            verbose=False,
        )
        for place, (name, (x, y)) in enumerate(sites.items())
    ]
    begin = time.monotonic()
    await asyncio.gather(server.async_run(config_of(trial, len(sites))), *(client.async_run() for client in clients))
    return Learned.of_steps(
        clients[0].trainmanager.model.squares,
        lrate=trial.lrate,
        accuracy=accuracy(server.model.get_wrapped_model(), test),
        seconds=time.monotonic() - begin,
        **spending(clients if trial.private else []),
    )


def for_single_samples(module: nn.Module) -> nn.Module:
    """The same, where a sample may also come without the dimension of the batch, as declearn hands it to be clipped."""
    if not isinstance(module, nn.Sequential):
        return module
    return nn.Sequential(*(nn.Flatten(-3) if isinstance(layer, nn.Flatten) else layer for layer in module))


def config_of(trial: Trial, n_sites: int) -> FLRunConfig:
    """Evaluated never, so that the weights of the last round are the result."""
    return FLRunConfig.from_params(
        rounds=trial.rounds,
        register=n_sites,
        training=trial.training(),
        evaluate={"batch_size": trial.batch_size, "frequency": trial.rounds + 1},
        privacy=trial.privacy(),
    )


def accuracy(module: nn.Module, test: Samples) -> float:
    x, y = map(torch.from_numpy, test)
    with torch.no_grad():
        return float((module(x).argmax(dim=1) == y).double().mean())


def spending(clients: Sequence[FederatedClient]) -> dict[str, float]:
    """What the client that has spent most says of it."""
    said = [
        {"epsilon": manager.get_privacy_spent()[0], "noise_multiplier": manager.get_noise_multiplier()}
        for manager in (client.trainmanager for client in clients)
    ]
    return max(said, key=lambda one: one["epsilon"], default={})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
