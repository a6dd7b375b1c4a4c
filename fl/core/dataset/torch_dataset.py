"""Datasets as torch has them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import Dataset as Items
from torch.utils.data import IterableDataset, TensorDataset, default_collate

from fl.core.data_info import DataInfo
from fl.core.dataset import checks
from fl.core.dataset.api import Batch, Dataset
from fl.core.doors import import_factory
from fl.core.registry import configure
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

Collate = Callable[[list[Any]], Any]


class TorchDataset(Dataset):
    """A map-style dataset of torch, whose items are x, (x, y) or (x, y, weight); x may be a tuple, list or dict.

    `collate_fn` makes one batch of a list of items, of the same form; torch's own stacks tensors. The target and the
    weights of a batch become numpy arrays, which metrics compute with. Text is a target like any other.

    What items hold is read only when it is needed, except with `expose_classes`, which looks at each item once.
    """

    name = "torch"

    def __init__(
        self,
        dataset: "Items[Any]",
        collate_fn: Collate | None = None,
        *,
        expose_classes: bool = False,
        expose_data_type: bool = False,
    ) -> None:
        """Raises `DataError` for a dataset without a length, without items, or without classes to expose."""
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise DataError(
                f"{type(dataset).__name__} has no length and no places: samples are drawn by place, so give a "
                "dataset with __len__ and __getitem__"
            )
        self._items: Any = dataset
        self._collate = collate_fn
        if self.n_samples == 0:
            raise DataError(f"{type(dataset).__name__} has no items, so there is nothing to learn from")
        self._expose_data_type = expose_data_type
        self._classes = self._find_classes() if expose_classes else None
        self._factory: dict[str, Any] | None = None

    @classmethod
    def from_factory(
        cls,
        factory: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        expose_classes: bool = False,
        expose_data_type: bool = False,
    ) -> Self:
        """What the function at "package.module:function" returns: a dataset, or the pair of it and its `collate_fn`.

        It is the site itself that names it, in its own TOML, so no door is asked. Raises `ConfigError` or `DataError`.
        """
        options = dict(kwargs or {})
        try:
            json.dumps(options)
        except TypeError as error:
            raise ConfigError(f"factory {factory}: its arguments must be values JSON can carry: {error}") from None
        made = configure(import_factory(factory), options)
        items, collate = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        dataset = cls(items, collate, expose_classes=expose_classes, expose_data_type=expose_data_type)
        dataset._factory = {"factory": factory, "kwargs": options}
        return dataset

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return configure(cls.from_factory, config)

    @property
    def n_samples(self) -> int:
        return len(self._items)

    def get_data_specs(self) -> DataInfo:
        """Shapes are those of the first sample, and are not told where there are several inputs."""
        x = self.take(slice(0, 1)).x
        shape = tuple(x.shape) if isinstance(x, torch.Tensor) else None
        return DataInfo(
            n_samples=self.n_samples,
            n_features=shape[1] if shape is not None and len(shape) == 2 else None,
            input_shape=None if shape is None else (0, *shape[1:]),
            classes=self._classes,
            data_type=str(x.dtype).removeprefix("torch.") if shape is not None and self._expose_data_type else None,
        )

    def take(self, index: slice | Array) -> Batch:
        """Raises `DataError` for items of different shapes that no `collate_fn` brings together."""
        if type(self._items) is TensorDataset and self._collate is None:
            place = index if isinstance(index, slice) else torch.from_numpy(index)
            return _batch(tuple(tensor[place] for tensor in self._items.tensors))
        places = range(*index.indices(self.n_samples)) if isinstance(index, slice) else index.tolist()
        if len(places) == 0:
            return _first_none(self.take(slice(0, 1)))
        items = [self._items[place] for place in places]
        try:
            return _batch((self._collate or default_collate)(items))
        except (RuntimeError, TypeError) as error:
            raise DataError(
                f"items of {type(self._items).__name__} do not make a batch: {error}: give a collate_fn that makes one"
            ) from error

    def describe(self) -> dict[str, Any] | None:
        if self._factory is None:
            return None
        exposed = {"expose_classes": self._classes is not None, "expose_data_type": self._expose_data_type}
        return {"name": self.name, **self._factory, **exposed}

    def _find_classes(self) -> tuple[int | str, ...]:
        source = type(self._items).__name__
        parts = [self.take(slice(start, start + 256)) for start in range(0, self.n_samples, 256)]
        if any(part.y is None for part in parts):
            raise DataError(f"expose_classes: items of {source} are no pairs, so there is no target to take classes of")
        labels = np.concatenate([part.y for part in parts])
        return checks.classes(checks.target(labels, len_of=labels, source=source), source=source)


def _batch(collated: Any) -> Batch:
    """x, (x, y) or (x, y, weights)."""
    if not isinstance(collated, tuple | list):
        return Batch(collated)
    if not 1 <= len(collated) <= 3:
        raise DataError(f"an item is x, (x, y) or (x, y, weight), but these have {len(collated)} parts")
    x, y, weights = (*collated, None, None)[:3]
    return Batch(x, _array(y), _array(weights))


def _array(values: torch.Tensor | Sequence[Any] | None) -> Array | None:
    return None if values is None else np.asarray(values)


def _first_none(batch: Batch) -> Batch:
    """A batch of no samples, with the shapes of another."""
    return Batch(_none_of(batch.x), *(None if part is None else part[:0] for part in batch[1:]))


def _none_of(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return tuple(_none_of(part) for part in x)
    return {name: _none_of(part) for name, part in x.items()} if isinstance(x, dict) else x[:0]
