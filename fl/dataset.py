"""Datasets, and how to cut one into shares."""

from fl.core.dataset import Batch, Dataset, InMemoryDataset, split

__all__ = ["Batch", "Dataset", "InMemoryDataset", "split"]
