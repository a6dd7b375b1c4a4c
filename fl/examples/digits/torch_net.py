"""A small convolutional network in torch; runs name it by its path, "fl.examples.digits.torch_net:cnn"."""

import torch
from torch import nn


def cnn(channels: int = 8, hidden: int = 32, seed: int = 0, rows: bool = False) -> tuple[nn.Module, nn.Module]:
    """For images of shape (n, 1, 8, 8), or `rows` of 64 numbers: scores of ten classes, and their loss.

    The same seed, the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)) if rows else nn.Identity(),
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )
    return model, nn.CrossEntropyLoss()
