"""Passes of our own in the place of layers' own, for as long as one pass of the whole module takes."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fl.core.model.torch.clipped.attention import attention
from fl.core.model.torch.clipped.layers import channel_norm, convolution, embedding, layer_norm, linear
from fl.core.model.torch.clipped.recurrent import noted_recurrent, recurrent
from fl.core.model.torch.clipped.tape import Tape

RECURRENT: Final[Collection[Any]] = (nn.RNN.forward, nn.LSTM.forward, nn.GRU.forward)
NOTED: Final[Mapping[Any, Callable[..., Any]]] = {
    nn.Linear.forward: linear,
    nn.Conv1d.forward: convolution,
    nn.Conv2d.forward: convolution,
    nn.Conv3d.forward: convolution,
    nn.Embedding.forward: embedding,
    nn.LayerNorm.forward: layer_norm,
    nn.RMSNorm.forward: layer_norm,
    nn.GroupNorm.forward: channel_norm,
    _InstanceNorm.forward: channel_norm,
    _BatchNorm.forward: channel_norm,
    nn.MultiheadAttention.forward: attention,
    **dict.fromkeys(RECURRENT, noted_recurrent),
}
"""By the pass of a layer's class, as who writes a pass anew has another layer. Takes the layer and a tape first."""


@contextmanager
def noted_on(tape: Tape, module: nn.Module) -> Iterator[None]:
    """Every layer with a formula for single samples leaves notes on the tape."""
    passes: dict[nn.Module, partial[Any]] = {}
    for layer in module.modules():
        own = type(layer).forward
        if own in NOTED and any(item.requires_grad for item in layer.parameters()):
            passes[layer] = partial(NOTED[own], layer, tape)
    with _instead(passes):
        yield


@contextmanager
def unrolled(module: nn.Module) -> Iterator[None]:
    """Recurrent layers go step by step, which `vmap` takes over samples as it takes other layers."""
    layers = [layer for layer in module.modules() if type(layer).forward in RECURRENT]
    with _instead({layer: partial(recurrent, layer, F.linear) for layer in layers if isinstance(layer, nn.RNNBase)}):
        yield


@contextmanager
def _instead(passes: dict[nn.Module, partial[Any]]) -> Iterator[None]:
    taken = [layer for layer in passes if "forward" not in vars(layer)]  # else somebody else was here before
    for layer in taken:
        vars(layer)["forward"] = passes[layer]
    try:
        yield
    finally:
        for layer in taken:
            del vars(layer)["forward"]
