"""Modules of many kinds, with samples that fit them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import nn

from fl.core import device
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy

CROSS: Final = nn.CrossEntropyLoss()


@contextmanager
def on_cpu() -> Iterator[None]:
    """Models made inside are on the CPU, whatever this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_process", device._Process(DevicePolicy(gpu=False)))
        yield


class Recurrent(nn.Module):
    """Scores from the last state of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.layer(x)[0][:, -1])


class Attentive(nn.Module):
    """Scores from the mean over self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.attention(x, x, x)[0].mean(1))


class Tied(nn.Module):
    """An encoder whose weight is the decoder's too, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decoder.weight = self.encoder.weight
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> Any:
        return self.decoder(torch.tanh(self.encoder(x)))


class TwoInputs(nn.Module):
    """Takes features and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> Any:
        return self.head(x) * gate


def frozen_first() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    module[0].requires_grad_(False)
    return module


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (6,)),
    "frozen": (frozen_first, (6,)),
    "cnn": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding="same"), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)),
        (1, 4, 4),
    ),
    "groupnorm": (lambda: nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3)), (6,)),
    "rnn": (lambda: Recurrent(nn.RNN(6, 4, batch_first=True)), (5, 6)),
    "lstm": (lambda: Recurrent(nn.LSTM(6, 4, num_layers=2, batch_first=True)), (5, 6)),
    "gru": (lambda: Recurrent(nn.GRU(6, 4, batch_first=True)), (5, 6)),
    "attention": (Attentive, (5, 6)),
    "transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), 1),
            nn.Flatten(),
            nn.Linear(30, 3),
        ),
        (5, 6),
    ),
    "tied": (Tied, (6,)),
}
"""How to make a module, and the shape of one of its samples. Each scores at least 3 classes."""


def make(name: str, seed: int = 0) -> nn.Module:
    """In float64, so that differences are finite in the good sense."""
    torch.manual_seed(seed)
    return ZOO[name][0]().double()


def samples(shape: tuple[int, ...], n: int = 6, *, weighted: bool = True) -> Batch:
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    return Batch(rng.normal(size=(n, *shape)), rng.integers(3, size=n), weights)
