"""Whether a Keras model computes each sample of a batch by itself, as clipping sample by sample takes for granted.

Two rules are tried in training mode, on made-up samples, with the generators of the layers in the same state each time,
so that dropout draws the same: a pass that is repeated gives the same, and what a sample gives stays the same when all
others are replaced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from fl.core.model.tensorflow.inputs import Inputs
from fl.core.model.tensorflow.weights import layers_of
from fl.core.vector import Array
from fl.errors import ModelError

N: Final = 7
"""Samples that are tried; in what layers exchange, the axis of this length is taken for that of samples."""


@dataclass(frozen=True, slots=True)
class Call:
    """What one layer, or operation of a functional model, was given and gave in one pass."""

    layer: Any
    given: tuple[Array, ...]
    gave: tuple[Array, ...]


class Separation:
    """Looks once at one model, on the first samples that it takes."""

    def __init__(self, model: Any, inputs: Inputs, *, device: str) -> None:
        self._model = model
        self._inputs = inputs
        self._device = device
        self._is_known = False

    def check(self, like: list[Array]) -> None:
        """Try samples of these shapes and dtypes, unless it is known already that samples keep to themselves.

        Raises `ModelError` naming the layer through which they see each other, or that does what cannot be repeated.
        Leaves the model as it was. Tells nothing where the model does not run on such samples, or where there are none.
        """
        if self._is_known or not like:
            return
        for samples, others in _made_up(like):
            try:
                with tf.device(self._device):
                    wrong = self._wrong(samples, others)
            except (ValueError, TypeError, tf.errors.OpError):  # as of an embedding of what are no whole numbers
                continue
            if wrong is not None:
                raise ModelError(wrong)
            self._is_known = True
            return

    def _wrong(self, samples: list[Array], others: list[Array]) -> str | None:
        """What the model does that it should not, in words. Raises `ValueError` where outputs are not finite."""
        calls = self._calls(samples)
        if not all(np.isfinite(array).all() for array in calls[-1].gave):
            raise ValueError("what is not finite tells nothing of where it came from")
        guilty = _first_that_differs(calls, self._calls(samples), slice(None))
        if guilty is not None:
            return (
                f"{self._named(guilty)} draws from a generator that is not its own, so that no round can be done again "
                "with the same gradients, as private rounds must be: use keras.random, with a "
                "keras.random.SeedGenerator that is an attribute of the layer"
            )
        for kept in (0, N - 1):
            replaced = [other.copy() for other in others]
            for part, original in zip(replaced, samples, strict=True):
                part[kept] = original[kept]
            guilty = _first_that_differs(calls, self._calls(replaced), slice(kept, kept + 1))
            if guilty is not None:
                return (
                    f"gradients cannot be clipped sample by sample: {self._named(guilty)} mixes the samples of a "
                    "batch; have it compute each sample by itself, over any axis but the first"
                )
        return None

    def _calls(self, arrays: list[Array]) -> list[Call]:
        """Of every layer in one pass, in the order in which they end; that of the model itself is the last."""
        calls: list[Call] = []
        with _noting(self._model, calls), keras.StatelessScope():
            self._model(self._inputs.pack([tf.constant(array) for array in arrays]), training=True)
        return calls

    def _named(self, layer: Any) -> str:
        return "the model's own call" if layer is self._model else f"layer {layer.name!r} ({type(layer).__name__})"


def _made_up(like: list[Array]) -> Iterator[tuple[list[Array], list[Array]]]:
    """Twice N samples that differ: floats as such, and, as these may be codes, as the whole numbers 0 and 1."""
    for draw in (_floats, _bits):
        rng = np.random.default_rng(0)
        yield [draw(part, rng) for part in like], [draw(part, rng) for part in like]


def _floats(part: Array, rng: np.random.Generator) -> Array:
    """Integers where there are integers, of the range that they have there."""
    if part.dtype.kind == "f":
        return rng.normal(size=(N, *part.shape[1:])).astype(part.dtype)
    low, high = min(0, int(part.min(initial=0))), max(1, int(part.max(initial=1)))
    return rng.integers(low, high, size=(N, *part.shape[1:]), endpoint=True).astype(part.dtype)


def _bits(part: Array, rng: np.random.Generator) -> Array:
    return rng.integers(2, size=(N, *part.shape[1:])).astype(part.dtype)


@contextmanager
def _noting(model: Any, calls: list[Call]) -> Iterator[None]:
    """Layers have no hooks: for a while, each gets a `call` of its own in front of that of its class."""
    noted = []
    for layer in layers_of(model):
        noted += [layer, *(one for one in getattr(layer, "operations", ()) if not isinstance(one, keras.Layer))]
    for layer in noted:
        object.__setattr__(layer, "call", _noted(layer, layer.call, calls))  # Keras would track it as state
    try:
        yield
    finally:
        for layer in noted:
            object.__delattr__(layer, "call")


def _noted(layer: Any, call: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        given = _arrays((args, kwargs))
        gave = call(*args, **kwargs)
        calls.append(Call(layer, given, _arrays(gave)))
        return gave

    return noting


def _arrays(value: Any) -> tuple[Array, ...]:
    """All that is computed already: what is inside a loop that TensorFlow vectorises is not."""
    return tuple(
        np.asarray(item) for item in keras.tree.flatten(value) if isinstance(item, tf.__internal__.EagerTensor)
    )


def _first_that_differs(calls: list[Call], others: list[Call], rows: slice) -> Any:
    """The layer that gives something else for samples for which it was given the same.

    The model where no layer is to blame alone, None where it gives the same.
    """
    if _agree(calls[-1].gave, others[-1].gave, rows):
        return None
    if len(calls) == len(others):
        for one, other in zip(calls, others, strict=True):
            if _agree(one.given, other.given, rows) and not _agree(one.gave, other.gave, rows):
                return one.layer
    return calls[-1].layer


def _agree(some: tuple[Array, ...], others: tuple[Array, ...], rows: slice) -> bool:
    """Whether what is of these samples is the same, up to rounding, as far as it is of samples at all."""
    return all(_same(one, other, rows) for one, other in zip(some, others, strict=False))


def _same(one: Array, other: Array, rows: slice) -> bool:
    if one.shape != other.shape:
        return False
    if N not in one.shape:
        return True
    axis = one.shape.index(N)
    left, right = (np.moveaxis(array, axis, 0)[rows] for array in (one, other))
    if left.dtype.kind in "biu":
        return bool(np.array_equal(left, right))
    tolerance = {"float64": 1e-8, "float32": 1e-4}.get(left.dtype.name, 1e-2)
    left, right = left.astype(np.float64), right.astype(np.float64)
    scale = np.abs(left).max(initial=0.0)
    return not np.isfinite(scale) or bool(np.allclose(left, right, rtol=0, atol=tolerance * scale, equal_nan=True))
