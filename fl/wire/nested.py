"""The state of an optimizer as tensors: vectors side by side in one, and the rest of the tree as JSON beside them."""

import json
from typing import Any

import numpy as np

from fl.core.vector import NumpyVector, Vector
from fl.errors import BadMessage

TREE = "tree"
"""Name of the tensor of bytes that holds the JSON."""


def pack_tree(tree: Any) -> NumpyVector:
    """A tree of dicts, lists, vectors and values that JSON can carry, as one vector."""
    arrays: dict[str, Any] = {}
    text = json.dumps(_strip(tree, "", arrays), separators=(",", ":"))
    return NumpyVector.from_arrays({**arrays, TREE: np.frombuffer(text.encode(), np.uint8)})


def unpack_tree(packed: NumpyVector) -> Any:
    """Raises `BadMessage` for anything but what `pack_tree` made."""
    arrays = packed.arrays()
    try:
        return _fill(json.loads(arrays[TREE].tobytes()), arrays)
    except (KeyError, ValueError) as error:
        raise BadMessage(f"an optimizer's state cannot be read: {error}") from None


def _strip(node: Any, path: str, arrays: dict[str, Any]) -> Any:
    """The node with each vector replaced by the names of its tensors, which go to `arrays`."""
    if isinstance(node, Vector):
        own = {f"{path}/{name}": array for name, array in node.to_numpy().arrays().items()}
        arrays.update(own)
        return {"vector": list(own)}
    if isinstance(node, dict):
        return {"dict": {key: _strip(value, f"{path}/{key}", arrays) for key, value in node.items()}}
    if isinstance(node, list | tuple):
        return {"list": [_strip(value, f"{path}/{place}", arrays) for place, value in enumerate(node)]}
    return {"value": node}


def _fill(node: dict[str, Any], arrays: dict[str, Any]) -> Any:
    ((kind, content),) = node.items()
    match kind:
        case "vector":
            return NumpyVector.from_arrays({name.rpartition("/")[2]: arrays[name] for name in content})
        case "dict":
            return {key: _fill(value, arrays) for key, value in content.items()}
        case "list":
            return [_fill(value, arrays) for value in content]
        case _:
            return content
