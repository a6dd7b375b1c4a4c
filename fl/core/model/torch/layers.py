"""Constructor arguments of the layers of `torch.nn`, read back from instances."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn

from fl.core.registry import nearest
from fl.core.vector.torch_vector import dtype_name
from fl.errors import ModelError

Describe = Callable[[nn.Module, str], dict[str, Any]]
Build = Callable[[Mapping[str, Any]], nn.Module]

LEFT_OUT: Final = {"self", "device", "dtype", "size_average", "reduce", "min_value", "max_value", "init"}
"""Placing and precision are said once for all layers, the others are old names or only first values of weights."""
RNN: Final = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
NAMES: Final[Mapping[type[nn.Module], tuple[str, ...]]] = {
    nn.RNN: (*RNN, "nonlinearity"),
    nn.LSTM: (*RNN, "proj_size"),
    nn.GRU: RNN,
    nn.Identity: (),
}
"""Arguments of classes whose signature does not tell them."""
ACTIVATIONS: Final = {F.relu: "relu", F.gelu: "gelu"}


def class_of(module: nn.Module, path: str) -> str:
    """Its name in `torch.nn`. Raises `ModelError` for any other class."""
    cls: type[nn.Module] = type(module)
    if getattr(nn, cls.__name__, None) is not cls:
        where = f"layer {path!r}" if path else "it"
        raise ModelError(f"{where} is a {cls.__module__}.{cls.__qualname__}, which is no layer of torch.nn")
    return str(cls.__name__)


def read_class(name: str) -> type[nn.Module]:
    """The class of that name in `torch.nn`. Raises `ModelError`."""
    cls = getattr(nn, name, None)
    if not isinstance(cls, type) or not issubclass(cls, nn.Module):
        known = [key for key, value in vars(nn).items() if isinstance(value, type)]
        raise ModelError(f"torch.nn has no layer {name!r} in version {torch.__version__}; {nearest(name, known)}")
    return cls


def arguments_of(module: nn.Module, path: str, describe: Describe) -> dict[str, Any]:
    """As values JSON can carry. Raises `ModelError` naming the argument that cannot be read back."""
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        given = _transformer_layer(module)
    elif isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
        given = _transformer_stack(module)
    else:
        given = _attributes(module)
    return {name: _to_json(value, f"{path}.{name}" if path else name, describe) for name, value in given.items()}


def from_json(value: Any, build: Build) -> Any:
    """An argument that `arguments_of` wrote."""
    if isinstance(value, list):
        return tuple(from_json(item, build) for item in value)
    if isinstance(value, Mapping) and "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    return build(value) if isinstance(value, Mapping) else value


def _names(cls: type[nn.Module]) -> tuple[str, ...]:
    if cls in NAMES:
        return NAMES[cls]
    parameters = inspect.signature(cls.__init__).parameters
    return tuple(name for name in parameters if name not in LEFT_OUT and not name.startswith("_"))


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Arguments that are attributes of the same name; others have kept their defaults, or the comparison tells."""
    given = {name: getattr(module, name) for name in _names(type(module)) if hasattr(module, name)}
    if isinstance(module, nn.MultiheadAttention):
        return given | {"bias": module.in_proj_bias is not None, "add_bias_kv": module.bias_k is not None}
    if "bias" in given and not isinstance(given["bias"], bool):
        given["bias"] = given["bias"] is not None
    return given


def _transformer_layer(layer: Any) -> dict[str, Any]:
    return {
        "d_model": layer.self_attn.embed_dim,
        "nhead": layer.self_attn.num_heads,
        "dim_feedforward": layer.linear1.out_features,
        "dropout": layer.dropout.p,
        "activation": ACTIVATIONS.get(layer.activation, layer.activation),
        "layer_norm_eps": layer.norm1.eps,
        "batch_first": layer.self_attn.batch_first,
        "norm_first": layer.norm_first,
        "bias": layer.linear1.bias is not None,
    }


def _transformer_stack(stack: Any) -> dict[str, Any]:
    kind = "encoder_layer" if isinstance(stack, nn.TransformerEncoder) else "decoder_layer"
    given = {kind: stack.layers[0], "num_layers": stack.num_layers, "norm": stack.norm}
    if isinstance(stack, nn.TransformerEncoder):
        given["enable_nested_tensor"] = stack.enable_nested_tensor
    return given


def _to_json(value: Any, path: str, describe: Describe) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_to_json(item, path, describe) for item in value]
    if isinstance(value, torch.Tensor):
        return {"tensor": value.tolist(), "dtype": dtype_name(value.dtype)}
    if isinstance(value, nn.Module):
        return describe(value, path)
    raise ModelError(f"argument {path!r} is a {type(value).__name__}, which no JSON can carry")
