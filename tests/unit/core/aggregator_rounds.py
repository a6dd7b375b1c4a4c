"""Rounds of updates, and what an aggregator makes of them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fl.core.aggregator import Aggregator
from fl.core.mergeable import Mergeable
from fl.core.vector import Layout, NumpyVector, Role, TensorSpec


class Part(NamedTuple):
    """What one client did in a round."""

    update: NumpyVector
    client: str
    n_steps: int = 1
    n_samples: int = 1


def vector(values: npt.ArrayLike, dtype: str = "float32") -> NumpyVector:
    return NumpyVector.from_arrays({"a": np.asarray(values, dtype=dtype)})


def with_buffer(trainable: npt.ArrayLike, buffer: npt.ArrayLike) -> NumpyVector:
    """Trainable tensor "w", and a buffer "mean" as BatchNorm has it."""
    parts = {"w": np.asarray(trainable, "float32"), "mean": np.asarray(buffer, "float32")}
    roles = (Role.TRAINABLE, Role.BUFFER)
    specs = (
        TensorSpec(name, "float32", part.shape, role) for (name, part), role in zip(parts.items(), roles, strict=True)
    )
    return NumpyVector(Layout(tuple(specs)), np.concatenate([part.ravel() for part in parts.values()]))


def fold(aggregator: Aggregator, parts: list[Part]) -> NumpyVector | None:
    running = aggregator.start(parts[0].update.layout)
    for part in parts:
        running.add(part.update, client=part.client, n_steps=part.n_steps, n_samples=part.n_samples)
    return running.finish()


def folded(aggregator: Aggregator, parts: list[Part]) -> NumpyVector:
    """Of a round in which someone trained."""
    result = fold(aggregator, parts)
    assert result is not None
    return result


def prepared(aggregator: Aggregator, part: Part) -> Mergeable:
    return aggregator.prepare(part.update, client=part.client, n_steps=part.n_steps, n_samples=part.n_samples)


def merged(aggregator: Aggregator, parts: list[Part]) -> Mergeable:
    """One part after the other, in this order."""
    first, *rest = (prepared(aggregator, part) for part in parts)
    for part in rest:
        first = first.merge(part)
    return first
