"""Data of one site, as batches."""

from fl.core.dataset import split
from fl.core.dataset.api import Batch, Dataset
from fl.core.dataset.memory import InMemoryDataset
from fl.core.dataset.sampling import Batching

__all__ = ["Batch", "Batching", "Dataset", "InMemoryDataset", "split"]
