"""A small network in torch; runs name it by its path, "fl.examples.diabetes.torch_net:network"."""

import torch
from torch import nn


def network(hidden: int = 16, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """For patients of shape (n, 10): one value, and its squared error. The same seed, the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(10, hidden), nn.Tanh(), nn.Linear(hidden, 1))
    return model, nn.MSELoss()
