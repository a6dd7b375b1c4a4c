"""A dataset: how a site's files become samples."""

from pathlib import Path
from typing import Any

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.vector import Array
from fl.dataset import Batch, Dataset
from fl.errors import DataError


class EventCounts(Dataset):
    """Text with a sample a line: its features, a colon, and how many events there were, as in `0.5 -1.2 : 3`."""

    name = "event-counts"

    def __init__(self, path: str) -> None:
        self._path = Path(path).resolve()
        try:
            lines = [line.split(":") for line in self._path.read_text("utf-8").splitlines()]
            self._x = np.array([features.split() for features, _ in lines], np.float64)
            self._y = np.array([count for _, count in lines], np.int64)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as lines of `feature feature ... : count`: {error}") from None

    @property
    def n_samples(self) -> int:
        return len(self._y)

    def get_data_specs(self) -> DataInfo:
        return DataInfo(n_samples=len(self._y), n_features=self._x.shape[1], input_shape=(0, self._x.shape[1]))

    def take(self, index: slice | Array) -> Batch:
        return Batch(self._x[index], self._y[index])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "path": str(self._path)}
