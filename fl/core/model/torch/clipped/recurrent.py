"""Recurrent layers step by step, as torch documents them, so that every product of a weight can be noted by itself.

torch's own passes are one operation for a whole sequence, of which gradients of single samples could only be had by as
many passes as there are samples.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn

from fl.core.model.torch.clipped.tape import Linear, Tape, Unknown

Tensor = torch.Tensor
State = tuple[Tensor, ...]


def noted_recurrent(layer: nn.RNNBase, tape: Tape, x: Any, hx: Any = None) -> tuple[Tensor, Any]:
    return recurrent(layer, tape.linear, x, hx)


def recurrent(layer: nn.RNNBase, linear: Linear, x: Any, hx: Any = None) -> tuple[Tensor, Any]:
    """What `layer` gives for a batch of sequences, all of one length. Raises `Unknown` for packed or single ones."""
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise Unknown("a recurrent layer got packed sequences, or a single one")
    x = x if layer.batch_first else x.transpose(0, 1)
    directions = 2 if layer.bidirectional else 1
    starts = _starts(layer, x, hx, directions)
    ends: list[State] = []
    for depth in range(layer.num_layers):
        outs = []
        for direction in range(directions):
            out, end = _run(layer, linear, x, starts[len(ends)], place=(depth, direction))
            outs.append(out)
            ends.append(end)
        x = torch.cat(outs, dim=-1)
        if layer.dropout and depth < layer.num_layers - 1:
            x = F.dropout(x, layer.dropout, layer.training)
    last = tuple(torch.stack(items) for items in zip(*ends, strict=True))
    return (x if layer.batch_first else x.transpose(0, 1)), last if isinstance(layer, nn.LSTM) else last[0]


def _starts(layer: nn.RNNBase, x: Tensor, hx: Any, directions: int) -> list[State]:
    """The states from which each direction of each layer starts."""
    count = layer.num_layers * directions
    if hx is None:
        sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 2 if isinstance(layer, nn.LSTM) else 1]
        zeros = tuple(x.new_zeros(x.shape[0], size) for size in sizes)
        return [zeros] * count
    given = hx if isinstance(hx, tuple) else (hx,)
    if any(item.shape[:2] != (count, x.shape[0]) for item in given):
        raise Unknown("a recurrent layer got states of other samples than its sequences")
    return list(zip(*given, strict=True))


def _run(layer: nn.RNNBase, linear: Linear, x: Tensor, state: State, *, place: tuple[int, int]) -> tuple[Tensor, State]:
    """One direction of one layer: outputs of shape (n, steps, width), and the last state."""
    suffix = f"l{place[0]}{'_reverse' if place[1] else ''}"
    weights = {name: getattr(layer, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh")}
    biases = {name: getattr(layer, f"{name}_{suffix}") if layer.bias else None for name in ("bias_ih", "bias_hh")}
    projection = getattr(layer, f"weight_hr_{suffix}") if layer.proj_size else None
    inputs = linear(x, weights["weight_ih"], biases["bias_ih"]).unbind(1)
    outs = []
    for now in reversed(inputs) if place[1] else inputs:
        before = linear(state[0], weights["weight_hh"], biases["bias_hh"])
        state = _step(layer, now, before, state)
        if projection is not None:
            state = (linear(state[0], projection, None), *state[1:])
        outs.append(state[0])
    return torch.stack(outs[::-1] if place[1] else outs, dim=1), state


def _step(layer: nn.RNNBase, now: Tensor, before: Tensor, state: State) -> State:
    """The next state, of what the input and the last state come to."""
    if isinstance(layer, nn.LSTM):
        into, forget, new, out = (now + before).chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(into) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell
    if isinstance(layer, nn.GRU):
        (reset, update, new), (reset_before, update_before, new_before) = now.chunk(3, -1), before.chunk(3, -1)
        fresh = torch.tanh(new + torch.sigmoid(reset + reset_before) * new_before)
        return (fresh + torch.sigmoid(update + update_before) * (state[0] - fresh),)
    return (torch.relu(now + before) if layer.nonlinearity == "relu" else torch.tanh(now + before),)
