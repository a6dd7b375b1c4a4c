"""Modules built of `torch.nn` alone, as values that JSON can carry.

    {"class": "Sequential", "children": [["0", {"class": "Linear", "args": {"in_features": 4, ...}}], ...],
     "dtype": "float32", "frozen": ["0.weight"]}

A layer's arguments are read back from its attributes. Whether that was right is not assumed: the description is built
again, without memory for its tensors, and compared with the module it is of.
"""

from collections import OrderedDict
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import nn

from fl.core.model.torch.layers import arguments_of, class_of, from_json, read_class
from fl.core.vector.torch_vector import dtype_name
from fl.errors import ModelError


def describe_structure(module: nn.Module) -> dict[str, Any]:
    """Raises `ModelError` naming the first layer that has no such description."""
    floats = [item for item in module.state_dict().values() if item.is_floating_point()]
    described = _describe(module, "")
    if floats:
        described["dtype"] = dtype_name(floats[0].dtype)
    frozen = [name for name, item in module.named_parameters() if not item.requires_grad]
    if frozen:
        described["frozen"] = frozen
    with torch.device("meta"):
        _check_same(module, build_structure(described))
    return described


def build_structure(config: Mapping[str, Any]) -> nn.Module:
    """Raises `ModelError` for what is no description of a module."""
    try:
        module = _build(config)
        if "dtype" in config:
            module = module.to(getattr(torch, config["dtype"]))
        for name in config.get("frozen", ()):
            module.get_parameter(name).requires_grad_(False)
    except (AttributeError, KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(f"this description of a module cannot be built: {error!r}") from error
    return module


def _describe(module: nn.Module, path: str) -> dict[str, Any]:
    name = class_of(module, path)
    if isinstance(module, nn.Sequential):
        children = [[key, _describe(child, _join(path, key))] for key, child in module._modules.items() if child]  # noqa: SLF001  # `named_children` leaves out a layer that comes twice
        return {"class": name, "children": children}
    return {"class": name, "args": arguments_of(module, path, _describe)}


def _build(config: Mapping[str, Any]) -> nn.Module:
    cls = read_class(config["class"])
    if issubclass(cls, nn.Sequential):
        return cls(OrderedDict((key, _build(child)) for key, child in config["children"]))
    return cls(**{key: from_json(value, _build) for key, value in config["args"].items()})


def _check_same(module: nn.Module, rebuilt: nn.Module) -> None:
    """Raise `ModelError` naming the first layer in which a module and what was built from its description differ."""
    pairs = list(module.named_modules(remove_duplicate=False))
    others = dict(rebuilt.named_modules(remove_duplicate=False))
    if [name for name, _ in pairs] != list(others):
        raise ModelError("its layers are not all found where its constructors put them")
    for name, layer in pairs:
        if _facts(layer) != _facts(others[name]):
            raise ModelError(f"layer {name!r} ({type(layer).__name__}) was changed after it was made")
    if _shared(module) != _shared(rebuilt):
        raise ModelError("some of its layers share their parameters")


def _facts(layer: nn.Module) -> tuple[Any, ...]:
    """What says how a layer computes, but for the values of its tensors."""
    tensors = {**layer._parameters, **layer._buffers}  # noqa: SLF001  # with those that are None
    shapes = {name: None if item is None else (item.shape, item.requires_grad) for name, item in tensors.items()}
    plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(layer).items()
        if not name.startswith("_") and isinstance(value, _PLAIN) and name != "training"
    }
    hooks = [key for key, value in vars(layer).items() if key.endswith("_hooks") and value]
    return type(layer), shapes, plain, hooks


_PLAIN = (bool, int, float, str, tuple, list, torch.Size, type(None), FunctionType, BuiltinFunctionType)


def _shared(module: nn.Module) -> list[list[str]]:
    """Names of the parameters that are one and the same."""
    names: dict[int, list[str]] = {}
    for name, item in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(item), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
