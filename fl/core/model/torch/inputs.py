"""From what a dataset gives to what a module takes."""

from typing import Any

import numpy as np
import torch

from fl.core.vector import Array
from fl.errors import DataError

Tensor = torch.Tensor
Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of a module."""


def to_inputs(x: Any, like: Tensor) -> Inputs:
    """A batch's `x` as arguments: of a tuple or list one each, of a dict by name. Raises `DataError`."""
    if isinstance(x, tuple | list):
        return tuple(to_tensor(item, like) for item in x), {}
    if isinstance(x, dict):
        return (), {name: to_tensor(item, like) for name, item in x.items()}
    return (to_tensor(x, like),), {}


def to_tensor(values: Any, like: Tensor) -> Tensor:
    """On the device of `like`, floats in its dtype. Raises `DataError` for what is no number."""
    tensor = values if isinstance(values, Tensor) else from_array(values)
    if tensor.device == like.device and (tensor.dtype == like.dtype or not tensor.is_floating_point()):
        return tensor
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)


def from_array(values: Any) -> Tensor:
    """A dense or sparse array as a tensor, sharing memory where it can be written to. Raises `DataError`."""
    array = values if isinstance(values, np.ndarray) else as_array(values)
    # torch knows no read-only memory, no reversed axes and one byte order
    if not array.flags.writeable or not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.array(array, array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise DataError(f"samples hold {array.dtype} where a model needs numbers: encode them as numbers") from None


def as_array(values: Any) -> Array:
    """What a dataset gives, as a dense numpy array on the CPU."""
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Tensor):
        array: Array = values.detach().cpu().numpy()
        return array
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def shapes(inputs: Inputs) -> str:
    """Shapes of one sample's tensors, for people."""
    args, kwargs = inputs
    named = [*((None, item) for item in args), *kwargs.items()]
    parts = [f"{tuple(item.shape[1:])}" if name is None else f"{name} {tuple(item.shape[1:])}" for name, item in named]
    return " and ".join(parts)


def has_nan(inputs: Inputs) -> bool:
    """Whether a float among the inputs is a NaN or an infinity."""
    args, kwargs = inputs
    tensors = [item for item in (*args, *kwargs.values()) if item.is_floating_point()]
    return not all(bool(torch.isfinite(item).all()) for item in tensors)
