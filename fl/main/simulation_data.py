"""Many virtual clients out of the data of a few: all samples in one pool, dealt anew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fl.client.learner import Data
from fl.core.data_info import DataInfo, combine
from fl.core.dataset import Batch, Dataset
from fl.core.vector import Array
from fl.errors import DataError
from fl.main.simulation_crowd import VirtualClient


@dataclass(frozen=True, slots=True)
class Deal:
    """What one virtual client gets, as places in the pool; `valid` is what it evaluates on, and may be empty."""

    client: str
    train: Array
    valid: Array


class Rows(Dataset, register=False):
    """Samples in arrays that many datasets share."""

    name = "rows"

    def __init__(self, samples: Batch, info: DataInfo) -> None:
        self._samples = samples
        self._info = replace(info, n_samples=samples.n_samples)

    @property
    def n_samples(self) -> int:
        return self._info.n_samples

    def get_data_specs(self) -> DataInfo:
        return self._info

    def take(self, index: slice | Array) -> Batch:
        return rows(self._samples, index)

    def describe(self) -> None:
        """Only in memory."""


@dataclass(frozen=True, slots=True)
class Pool:
    """All samples of some clients, one dataset after the other."""

    samples: Batch
    info: DataInfo

    @classmethod
    def of(cls, clients: Iterable[VirtualClient]) -> Self:
        """What they train on, and what they evaluate on. Raises `DataError` where that does not go together."""
        clients = list(clients)
        info = combine({client.name: client.data.train.get_data_specs() for client in clients})
        datasets = {client.name: client.data.train for client in clients}
        datasets |= {f"{one.name} (valid)": one.data.valid for one in clients if one.data.valid is not None}
        batches = {name: dataset.take(slice(None)) for name, dataset in datasets.items()}
        columns = (_stacked(part, {name: getattr(batches[name], part) for name in batches}) for part in Batch._fields)
        return cls(Batch(*columns), info)

    def deal(self, deals: Sequence[Deal]) -> list[VirtualClient]:
        """A client for each deal. Samples are put in order once, so that each client's are a view of them."""
        samples = rows(self.samples, np.concatenate([part for deal in deals for part in (deal.train, deal.valid)]))
        clients, start = [], 0
        for deal in deals:
            middle, stop = start + len(deal.train), start + len(deal.train) + len(deal.valid)
            train = Rows(rows(samples, slice(start, middle)), self.info)
            valid = Rows(rows(samples, slice(middle, stop)), self.info) if middle < stop else None
            clients.append(VirtualClient(deal.client, Data(train, valid)))
            start = stop
        return clients


def rows(samples: Batch, index: slice | Array) -> Batch:
    """Some of the samples; of a slice it is a view."""
    return Batch(*(None if part is None else part[index] for part in samples))


def _stacked(part: str, columns: Mapping[str, Any]) -> Any:
    """One array of all; None where nobody has any."""
    lacking = [name for name, column in columns.items() if column is None]
    if len(lacking) == len(columns):
        return None
    if lacking:
        what = {"y": "target", "weights": "sample weights"}[part]
        raise DataError(f"the data of {', '.join(lacking)} have no {what}, and others have: they make no pool")
    arrays = list(columns.values())
    if all(hasattr(array, "tocsr") for array in arrays):
        import scipy.sparse  # noqa: PLC0415  # only where data is sparse

        return scipy.sparse.vstack(arrays, format="csr")
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise DataError("only datasets in memory can be dealt anew to virtual clients: leave --clients out")
    shapes = {name: column.shape[1:] for name, column in columns.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{part} of a sample has another shape in some data than in others: {shapes}")
    return np.concatenate(arrays)
