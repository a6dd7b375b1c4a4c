"""Datasets as TensorFlow has them."""

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import tensorflow as tf

from fl.core.data_info import DataInfo
from fl.core.dataset import checks
from fl.core.dataset.api import Batch, Dataset
from fl.core.doors import import_factory
from fl.core.registry import configure
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

READ = 1024
"""Items read at a time."""


class TensorflowDataset(Dataset):
    """A `tf.data.Dataset` of single samples: x, (x, y) or (x, y, weight); x may be a tuple or a dict of tensors.

    Samples are drawn by their places, which a `tf.data.Dataset` has none of: it is read once, when this is made, and
    then lies in memory as arrays. So it must end, all its samples have one shape, and what it does at random it does
    once; batches, shuffling and repeats are the run's to say. Text is a target like any other.
    """

    name = "tensorflow"

    def __init__(
        self, dataset: "tf.data.Dataset", *, expose_classes: bool = False, expose_data_type: bool = False
    ) -> None:
        """Raises `DataError` for a dataset that never ends, is empty, or has samples of different shapes."""
        if not isinstance(dataset, tf.data.Dataset):
            raise DataError(f"give a tf.data.Dataset, not a {type(dataset).__name__}")
        source = "this tf.data.Dataset"
        x, y, weights = _split(dataset.element_spec, _read(dataset, source))
        self._x = _each(x, lambda part: _samples(part, source))
        first = _first(self._x)
        self._y = None if y is None else checks.target(_text(y), len_of=first, source=source)
        self._weights = None if weights is None else checks.weights(weights, len_of=first, source=source)
        self._classes = checks.classes(self._y, source=source) if expose_classes else None
        self._expose_data_type = expose_data_type
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
        """What the function at "package.module:function" returns: the site itself names it, so no door is asked.

        Raises `ConfigError` or `DataError`.
        """
        options = dict(kwargs or {})
        try:
            json.dumps(options)
        except TypeError as error:
            raise ConfigError(f"factory {factory}: its arguments must be values JSON can carry: {error}") from None
        made = configure(import_factory(factory), options)
        dataset = cls(made, expose_classes=expose_classes, expose_data_type=expose_data_type)
        dataset._factory = {"factory": factory, "kwargs": options}
        return dataset

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return configure(cls.from_factory, config)

    @property
    def n_samples(self) -> int:
        return int(_first(self._x).shape[0])

    def get_data_specs(self) -> DataInfo:
        """Shape and dtype are not told where there are several inputs."""
        x = self._x if isinstance(self._x, np.ndarray) else None
        return DataInfo(
            n_samples=self.n_samples,
            n_features=x.shape[1] if x is not None and x.ndim == 2 else None,
            input_shape=None if x is None else (0, *x.shape[1:]),
            classes=self._classes,
            data_type=x.dtype.name if x is not None and self._expose_data_type else None,
        )

    def take(self, index: slice | Array) -> Batch:
        x = _each(self._x, lambda part: part[index])
        y = None if self._y is None else self._y[index]
        return Batch(x, y, None if self._weights is None else self._weights[index])

    def describe(self) -> dict[str, Any] | None:
        if self._factory is None:
            return None
        exposed = {"expose_classes": self._classes is not None, "expose_data_type": self._expose_data_type}
        return {"name": self.name, **self._factory, **exposed}


def _read(dataset: Any, source: str) -> Any:
    """All items, stacked."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"{source} never ends, and is read once: leave out repeat(), or end it with take(n)")
    try:
        blocks = list(dataset.batch(READ).as_numpy_iterator())
    except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
        raise DataError(
            f"items of {source} do not stack: all must have one shape; if they are batches, undo that with unbatch(), "
            f"and pad sequences to one length ({(str(error).splitlines() or [''])[0]})"
        ) from error
    if not blocks:
        raise DataError(f"{source} has no items, so there is nothing to learn from")
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *blocks)


def _split(spec: Any, items: Any) -> tuple[Any, Any, Any]:
    """Samples, targets and weights."""
    if not isinstance(spec, tuple):
        return items, None, None
    if not 1 <= len(spec) <= 3:
        raise DataError(f"items have {len(spec)} parts, but must be x, (x, y) or (x, y, weight): put inputs in a tuple")
    x, y, weights = (*items, None, None)[:3]
    for part, what in ((y, "target"), (weights, "weight")):
        if isinstance(part, dict | tuple):
            raise DataError(f"the {what} of an item must be one tensor: items are x, (x, y) or (x, y, weight)")
    return x, y, weights


def _samples(array: Array, source: str) -> Array:
    """Numbers as they are: integers may be places in a vocabulary."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"{source} holds {array.dtype} where numbers are needed: encode it as numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{source} has values that are NaN or infinite: fill or drop them")
    return array


def _text(array: Array) -> Array:
    """TensorFlow's text is bytes."""
    if array.dtype.kind not in "OS":
        return array
    return np.asarray([item.decode() if isinstance(item, bytes) else item for item in array.tolist()])


def _each(x: Any, change: Any) -> Any:
    if isinstance(x, dict):
        return {name: change(part) for name, part in x.items()}
    return tuple(change(part) for part in x) if isinstance(x, tuple) else change(x)


def _first(x: Any) -> Array:
    while not isinstance(x, np.ndarray):
        x = next(iter(x.values() if isinstance(x, dict) else x))
    return x
