"""Nested states, such as an optimizer's, as one vector: to be stored and sent the way weights are."""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from fl.core.layout import Role
from fl.core.vector import Array, NumpyVector, Vector

STATE: Final = "state.json"
"""The tensor that holds all but the arrays, as bytes of JSON."""


def pack_state(state: Any) -> NumpyVector:
    """An optimizer's or model's state as one vector, which is stored and sent like weights.

    `state` is built of dicts, lists, vectors, arrays and values JSON can carry. Raises `TypeError` for others.
    """
    arrays: dict[str, Any] = {}
    text = json.dumps(_strip(state, "", arrays))
    floats = {array.dtype.name for array in arrays.values() if array.dtype.kind == "f"}
    if len(floats) > 1:
        # one vector has one float dtype; the others travel as integers of the same bits, and the text says so
        odd = floats - {max(floats)}
        arrays = {path: _bits(array) if array.dtype.name in odd else array for path, array in arrays.items()}
    return NumpyVector.from_arrays({**arrays, STATE: np.frombuffer(text.encode(), np.uint8)})


def unpack_state(vector: NumpyVector) -> Any:
    """What `pack_state` packed. Raises `ValueError` when the vector is no state."""
    arrays = vector.arrays()
    if STATE not in arrays:
        raise ValueError(f"this vector is no state: it has no tensor {STATE!r}")
    return _fill(json.loads(arrays[STATE].tobytes()), "", arrays)


def _strip(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """Move arrays from a state to `arrays`, and leave their layout where they were."""
    if isinstance(value, Vector):
        vector = value.to_numpy()
        arrays.update({f"{path}/{name}": array for name, array in vector.arrays().items()})
        return {"$vector": [[spec.name, spec.dtype, spec.shape, spec.role] for spec in vector.layout.specs]}
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"$array": value.dtype.name}
    if isinstance(value, Mapping):
        return {key: _strip(item, f"{path}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strip(item, f"{path}/{i}", arrays) for i, item in enumerate(value)]
    return value


def _fill(value: Any, path: str, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and "$vector" in value:
        tensors = {name: arrays[f"{path}/{name}"].view(dtype) for name, dtype, *_ in value["$vector"]}
        return NumpyVector.from_arrays(tensors, {name: Role(role) for name, _, _, role in value["$vector"]})
    if isinstance(value, dict) and "$array" in value:
        return arrays[path].view(value["$array"]).copy()
    if isinstance(value, dict):
        return {key: _fill(item, f"{path}/{key}", arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, f"{path}/{i}", arrays) for i, item in enumerate(value)]
    return value


def _bits(array: Array) -> Array:
    return np.asarray(array, order="C").view(f"int{8 * array.dtype.itemsize}")
