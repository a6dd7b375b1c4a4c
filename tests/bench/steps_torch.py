"""`python -m tests.bench.steps_torch`: our training step over the plain torch loop's, on the same module and batch.

Both take turns in blocks, and the ratio is the median of the blocks' ratios, so that what else the machine does falls
on both alike.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from fl.core.dataset.api import Batch
from fl.core.device import set_device_policy
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer

LRATE = 0.01


def mlp() -> tuple[nn.Module, tuple[int, ...]]:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), (64,)


def cnn() -> tuple[nn.Module, tuple[int, ...]]:
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8)


def plain_step(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(module.parameters(), LRATE)

    def step() -> None:
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()

    return step


def our_step(module: nn.Module, batch: Batch) -> Callable[[], None]:
    model, optimizer = TorchModel(module, nn.CrossEntropyLoss()), Optimizer(LRATE)
    return lambda: optimizer.run_train_step(model, batch)


def seconds(step: Callable[[], None], steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def compare(module: nn.Module, shape: tuple[int, ...], *, blocks: int, steps: int) -> tuple[float, float]:
    """Median of our seconds over the plain loop's, and of the plain loop's microseconds a step."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, *shape)).astype(np.float32)
    y = rng.integers(10, size=32)
    ours = our_step(module, Batch(x, y))
    plain = plain_step(module, torch.from_numpy(x), torch.from_numpy(y))
    seconds(plain, 10 * steps)
    seconds(ours, 10 * steps)
    pairs = [(seconds(ours, steps), seconds(plain, steps)) for _ in range(blocks)]
    return statistics.median(a / b for a, b in pairs), statistics.median(b for _, b in pairs) / steps * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    set_device_policy(gpu=False)
    for make in (mlp, cnn):
        torch.manual_seed(0)
        ratio, plain_us = compare(*make(), blocks=options.blocks, steps=options.steps)
        print(f"{make.__name__}: {ratio:.3f} of the plain loop's {plain_us:.0f} us a step")


if __name__ == "__main__":
    main()
