"""What a dataset promises."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.dataset.fingerprint import fingerprint
from fl.core.dataset.sampling import Batching
from fl.core.registry import Registered, Registry
from fl.core.vector import Array
from fl.errors import DataError


class Batch(NamedTuple):
    """Some samples: `x` is an array, from sparse data a scipy CSR matrix, or what a framework's model takes.

    That may be a tensor, or a tuple, list or dict of arrays or tensors, the first axis of each counting the samples.
    """

    x: Any
    y: Any = None
    weights: Any = None

    @property
    def n_samples(self) -> int:
        x = self.x
        while isinstance(x, tuple | list | dict):
            x = next(iter(x.values() if isinstance(x, dict) else x))
        return int(x.shape[0])


class Dataset(Registered, ABC, register=False):
    """Samples of one site."""

    registry: ClassVar[Registry["Dataset"]] = Registry(
        "dataset",
        {
            "in-memory": "fl.core.dataset.memory:InMemoryDataset",
            "tensorflow": "fl.core.dataset.tensorflow_dataset:TensorflowDataset",
            "torch": "fl.core.dataset.torch_dataset:TorchDataset",
        },
    )

    _fingerprint: str | None = None

    @property
    @abstractmethod
    def n_samples(self) -> int: ...

    @abstractmethod
    def get_data_specs(self) -> DataInfo:
        """What leaves the site about this data."""

    @abstractmethod
    def take(self, index: "slice | Array") -> Batch:
        """The samples at these places; memory may be shared for a slice."""

    def fingerprint(self) -> str:
        """SHA-256 over what the samples hold, in their order, as hex digits: the same in every process and whenever.

        Computed once. Raises `DataError` for samples that are others each time they are taken.
        """
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.take, self.n_samples)
        return self._fingerprint

    @abstractmethod
    def describe(self) -> dict[str, Any] | None:
        """What `load` needs to build this dataset in another process, as values JSON can carry.

        None when it cannot: the data was never in a file.
        """

    def generate_batches(
        self,
        batch_size: int,
        *,
        rng: np.random.Generator | None = None,
        shuffle: bool = False,
        drop_remainder: bool = True,
        poisson: bool = False,
        replacement: bool = False,
    ) -> Iterator[Batch]:
        """One epoch of batches, drawn as `Batching` says from `rng`; without one, every call draws anew.

        Raises `DataError` at once when there would be none.
        """
        batching = Batching(
            batch_size, shuffle=shuffle, drop_remainder=drop_remainder, poisson=poisson, replacement=replacement
        )
        indices = batching.indices(self.n_samples, np.random.default_rng() if rng is None else rng)
        return (self.take(index) for index in indices)

    @staticmethod
    def load(description: Mapping[str, Any]) -> "Dataset":
        """Build what `describe` described. Raises `DataError` or `ConfigError`."""
        dataset: Dataset = Dataset.registry.build(description)
        return dataset

    def save_to_json(self, path: str | Path) -> None:
        """Write the description to a file. Raises `DataError` when there is none."""
        description = self.describe()
        if description is None:
            raise DataError(f"this {self.name} dataset is only in memory: write its data to a file and load it there")
        Path(path).write_text(json.dumps(description, indent=2) + "\n", "utf-8")

    @staticmethod
    def load_from_json(path: str | Path) -> "Dataset":
        """Build from a file that `save_to_json` wrote. Raises `DataError` or `ConfigError`."""
        try:
            description = json.loads(Path(path).read_text("utf-8"))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except ValueError as error:
            raise DataError(f"{path}: not a dataset's description in JSON: {error}") from None
        return Dataset.load(description)
