"""Attention with its projections as linear maps of their own, so that each can be noted."""

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn

from fl.core.model.torch.clipped.tape import Tape, Unknown

Tensor = torch.Tensor


def attention(  # noqa: PLR0917  # the arguments of the layer's own pass
    layer: nn.MultiheadAttention,
    tape: Tape,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What `layer` gives for a batch. Raises `Unknown` for projections of several widths, and for biases of keys."""
    del is_causal  # a hint, which comes with the mask
    if layer.in_proj_weight is None or layer.bias_k is not None or layer.add_zero_attn or query.ndim != 3:
        raise Unknown("attention has projections of several widths, biases of keys and values, or no batch")
    own = query is key and key is value
    if not layer.batch_first:
        query, key, value = (item.transpose(0, 1) for item in (query, key, value))
    q, k, v = (
        tape.linear(query, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)
        if own  # for others two thirds of these products are thrown away, and each parameter keeps one formula
        else [
            tape.linear(item, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)[place]
            for place, item in enumerate((query, key, value))
        ]
    )
    q, k, v = (item.view(*item.shape[:2], layer.num_heads, -1).transpose(1, 2) for item in (q, k, v))
    mask = _mask(layer, q, k, key_padding_mask, attn_mask)
    dropout = layer.dropout if layer.training else 0.0
    weights = None
    if need_weights:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights = F.dropout(torch.softmax(scores if mask is None else scores + mask, dim=-1), dropout)
        mixed = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    out = tape.linear(mixed.transpose(1, 2).flatten(2), layer.out_proj.weight, layer.out_proj.bias)
    return (out if layer.batch_first else out.transpose(0, 1)), weights


def _mask(
    layer: nn.MultiheadAttention, q: Tensor, k: Tensor, padding: Tensor | None, mask: Tensor | None
) -> Tensor | None:
    """What to add to scores of shape (n, heads, queries, keys)."""
    n, heads, length = q.shape[:3]
    if mask is not None:
        mask = _additive(mask, q)
        mask = mask if mask.ndim == 2 else mask.view(n, layer.num_heads, length, k.shape[2])
    if padding is None:
        return mask
    padding = _additive(padding, q)[:, None, None, :].expand(n, heads, length, -1)
    return padding if mask is None else mask + padding


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """Minus infinity where a mask is true; one of numbers as it is."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
