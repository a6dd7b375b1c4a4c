"""Datasets."""

from fl.core.dataset import Batch, Dataset, InMemoryDataset

__all__ = ["Batch", "Dataset", "InMemoryDataset"]
