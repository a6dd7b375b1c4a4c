"""`python -m tests.bench.steps_dp`: an epoch of DP-SGD over one of plain SGD on the same module, ours and Opacus's.

Ours is a site's whole round: Poisson batches drawn from the dataset, clipped gradients, noise, the optimizer. Opacus's
engine, in each of its ways to get gradients of single samples, and the plain loop are handed the batches, which are as
many and as large as ours are on average. One thread; CPU seconds, so that what else the machine does counts for less.
All take turns, forwards and backwards, and each ratio is the median of the turns' ratios.
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fl.core.dataset import Batching, InMemoryDataset
from fl.core.device import set_device_policy
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer
from fl.core.privacy.accounting import Spending
from fl.core.privacy.noise import keyed_source
from fl.core.privacy.private import PrivateSteps
from fl.core.training import Effort, train_round

LRATE: Final = 0.01
NOISE: Final = 1.0
MAX_NORM: Final = 1.0
OPACUS: Final = ("hooks", "ew", "ghost")
Epoch = Callable[[], object]


def digits() -> tuple[nn.Module, tuple[int, ...]]:
    """For images of 8 x 8: 1,898 parameters."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8)


def mnist() -> tuple[nn.Module, tuple[int, ...]]:
    """The network of Opacus's own example, for images of 28 x 28: 26,010 parameters."""
    layers = [nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(16, 32, 4, 2), nn.ReLU()]
    head = [nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*layers, *head), (1, 28, 28)


def plain_epoch(module: nn.Module, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> Epoch:
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), LRATE)
    return lambda: _loop(
        module, loss, optimizer, zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)
    )


def opacus_epoch(module: nn.Module, x: torch.Tensor, y: torch.Tensor, batch_size: int, *, mode: str) -> Epoch:
    optimizer = torch.optim.SGD(module.parameters(), LRATE)
    made: Any = PrivacyEngine().make_private(
        module=module,
        optimizer=optimizer,
        data_loader=DataLoader(TensorDataset(x, y), batch_size=batch_size),
        noise_multiplier=NOISE,
        max_grad_norm=MAX_NORM,
        poisson_sampling=False,
        grad_sample_mode=mode,
        criterion=nn.CrossEntropyLoss(),
    )
    private, optimizer, *rest = made
    loss = rest[0] if mode == "ghost" else nn.CrossEntropyLoss()
    return lambda: _loop(
        private, loss, optimizer, zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)
    )


def our_epoch(module: nn.Module, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> Epoch:
    model, optimizer, rng = TorchModel(module, nn.CrossEntropyLoss()), Optimizer(LRATE), np.random.default_rng(0)
    dataset = InMemoryDataset(x.numpy(), y.numpy())
    private = PrivateSteps(Spending(NOISE, batch_size / len(x), 10**6), MAX_NORM, keyed_source(bytes(32), secure=False))
    return lambda: train_round(
        model,
        optimizer,
        dataset,
        effort=Effort(n_epoch=1),
        batching=Batching(batch_size),
        rng=rng,
        clock=time.monotonic,
        private=private,
    )


def compare(
    module: nn.Module, shape: tuple[int, ...], *, turns: int, batches: int, batch_size: int
) -> dict[str, float]:
    """CPU seconds of a plain epoch, and of each other's over it."""
    rng = np.random.default_rng(0)
    n = batches * batch_size
    x = torch.from_numpy(rng.normal(size=(n, *shape)).astype(np.float32))
    y = torch.from_numpy(rng.integers(10, size=n))
    epochs = {
        "plain": plain_epoch(copy.deepcopy(module), x, y, batch_size),
        "ours": our_epoch(module, x, y, batch_size),
    }
    for mode in OPACUS:
        epochs[f"Opacus, {mode}"] = opacus_epoch(copy.deepcopy(module), x, y, batch_size, mode=mode)
    taken = measured(epochs, turns)
    ratios = {
        name: statistics.median(mine / plain for mine, plain in zip(seconds, taken["plain"], strict=True))
        for name, seconds in taken.items()
    }
    return ratios | {"plain": statistics.median(taken["plain"])}


def measured(epochs: Mapping[str, Epoch], turns: int) -> dict[str, list[float]]:
    """CPU seconds of each epoch in each turn, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(-1, turns):
        for name in reversed(list(epochs)) if turn % 2 else epochs:
            start = time.process_time()
            epochs[name]()
            if turn >= 0:
                taken[name].append(time.process_time() - start)
    return taken


def _loop(module: nn.Module, loss: Any, optimizer: Any, batches: Any) -> None:
    for x, y in batches:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--batches", type=int, default=16, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    set_device_policy(gpu=False)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Secure RNG|Full backward hook")  # of Opacus: noise is not secure here
    for make in (digits, mnist):
        torch.manual_seed(0)
        ratios = compare(*make(), turns=options.turns, batches=options.batches, batch_size=options.batch_size)
        shown = ", ".join(f"{name} {ratio:.2f} x" for name, ratio in ratios.items() if name != "plain")
        print(
            f"{make.__name__}, batches of {options.batch_size}: {shown} plain torch's {ratios['plain']:.3f} s an epoch"
        )


if __name__ == "__main__":
    main()
