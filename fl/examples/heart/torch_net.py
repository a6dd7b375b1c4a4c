"""A small network in torch; runs name it by its path, "fl.examples.heart.torch_net:network"."""

import torch
from torch import nn

from fl.examples.heart.schema import FEATURES


def network(hidden: int = 16, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """For patients of shape (n, features): the logit of having the disease, and its loss.

    The same seed, the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(len(FEATURES), hidden), nn.ReLU(), nn.Linear(hidden, 1))
    return model, nn.BCEWithLogitsLoss()
