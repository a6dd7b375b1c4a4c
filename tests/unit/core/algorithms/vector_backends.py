"""Every framework a vector may be of, and what tests need to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fl.core.vector import NumpyVector, Vector


@dataclass(frozen=True, slots=True)
class Backend:
    """One framework; each is imported when it is first used, since that takes seconds."""

    name: str
    make: Callable[[NumpyVector], Vector]
    """The same values, in memory of their own."""
    fill: Callable[[Vector, float], None]
    """Overwrite the buffer of a vector, as a model does with that of its gradients at the next step."""

    def __str__(self) -> str:
        return self.name


def _fill_numpy(vector: Vector, value: float) -> None:
    vector.flat[...] = value


def _torch(vector: NumpyVector) -> Vector:
    from fl.core.vector.torch_vector import TorchVector  # noqa: PLC0415  # takes seconds

    return TorchVector.from_numpy(vector.copy())


def _tensorflow(vector: NumpyVector) -> Vector:
    from fl.core.vector.tensorflow_vector import TensorflowVector  # noqa: PLC0415  # takes seconds

    return TensorflowVector.from_numpy(vector.copy())


def _nothing(vector: Vector, value: float) -> None:
    """Tensors of TensorFlow are never written into."""


NUMPY = Backend("numpy", NumpyVector.copy, _fill_numpy)
TORCH = Backend("torch", _torch, _fill_numpy)
TENSORFLOW = Backend("tensorflow", _tensorflow, _nothing)
BACKENDS = (NUMPY, TORCH, TENSORFLOW)


def device_of(vector: Vector) -> Any:
    return getattr(vector, "device", None)


def values_of(vector: Vector) -> "np.ndarray[Any, Any]":
    """A copy of the floats, as numpy has them."""
    return vector.to_numpy().flat.copy()
