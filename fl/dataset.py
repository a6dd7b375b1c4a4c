"""Datasets, and how to cut one into shares; those of a framework are imported when they are asked for."""

import importlib
from typing import TYPE_CHECKING, Any, Final

from fl.core.dataset import Batch, Dataset, InMemoryDataset, split

if TYPE_CHECKING:
    from fl.core.dataset.tensorflow_dataset import TensorflowDataset
    from fl.core.dataset.torch_dataset import TorchDataset

__all__ = ["Batch", "Dataset", "InMemoryDataset", "TensorflowDataset", "TorchDataset", "split"]

_LAZY: Final = {"TensorflowDataset": "tensorflow_dataset", "TorchDataset": "torch_dataset"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"fl.core.dataset.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'fl.dataset' has no attribute {name!r}")
