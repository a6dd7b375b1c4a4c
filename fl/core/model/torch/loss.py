"""Losses of torch as one value a sample, whatever reduction they were made with."""

import copy
from typing import Any

import torch
from torch import nn

from fl.core.model.torch.labels import Target, target_of
from fl.errors import DataError, ModelError

Tensor = torch.Tensor


class SampleLoss:
    """A copy of a loss that reduces nothing over samples; the one given stays as it is.

    Where there are several values a sample, as for the words of a sentence, these become one as the loss's own
    reduction says, its mean or its sum. The mean leaves out positions that `ignore_index` marks, and it is not divided
    by the weights of classes, unlike torch's, so that a sample's loss does not depend on who is in its batch.

    Raises `ModelError` for a loss that learns, or is no module.
    """

    def __init__(self, loss: nn.Module) -> None:
        if not isinstance(loss, nn.Module):
            raise ModelError(f"give a loss that is a module, as torch.nn.MSELoss() is, not {type(loss).__name__}")
        if any(item.requires_grad for item in loss.parameters()):
            raise ModelError(f"loss {type(loss).__name__} has parameters that learn: make them part of the model")
        self.module = copy.deepcopy(loss)
        self.target = target_of(loss)
        self._name = type(loss).__name__
        self._sums = getattr(loss, "reduction", "mean") in {"sum", "batchmean"}
        self._ignored: int | None = getattr(loss, "ignore_index", None)
        if hasattr(loss, "reduction"):
            vars(self.module)["reduction"] = "none"

    def __call__(self, raw: Any, y: Tensor) -> Tensor:
        """Of shape (n,), for outputs and targets of n samples. Raises `DataError` where they do not match."""
        y = self._matched(raw, y) if isinstance(raw, Tensor) else y
        losses: Any = self.module(raw, y)
        if not isinstance(losses, Tensor) or losses.ndim == 0 or losses.shape[0] != y.shape[0]:
            shown = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ModelError(
                f"loss {self._name} gives {shown} for {y.shape[0]} samples where one value a sample is needed: give "
                'it an attribute `reduction`, and let it return the losses unreduced where that is "none"'
            )
        return losses if losses.ndim == 1 else self._reduced(losses.flatten(1), y)

    def _matched(self, raw: Tensor, y: Tensor) -> Tensor:
        target = self.target
        if target is Target.ANY:
            target = Target.INDEX if _may_be_indices(raw, y) else Target.VALUE
        if target is Target.INDEX and not y.is_floating_point():
            return _reshaped(raw, y if y.dtype is torch.int64 else y.long(), (raw.shape[0], *raw.shape[2:]))
        if target is Target.INTEGER:
            return y
        return _reshaped(raw, y if y.dtype is raw.dtype else y.to(raw.dtype), tuple(raw.shape))

    def _reduced(self, losses: Tensor, y: Tensor) -> Tensor:
        if self._sums:
            return losses.sum(1)
        if self._ignored is None or y.is_floating_point():
            return losses.mean(1)
        counted = (y.reshape(y.shape[0], -1) != self._ignored).sum(1)
        return losses.sum(1) / counted.clamp(min=1)


def _may_be_indices(raw: Tensor, y: Tensor) -> bool:
    return raw.ndim == y.ndim + 1 and raw.shape[1] > 1 and not y.is_floating_point()


def _reshaped(raw: Tensor, y: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Targets in the shape of what they are compared with, where only axes of length 1 differ; never broadcast."""
    if tuple(y.shape) == wanted:
        return y
    if [length for length in y.shape[1:] if length != 1] != [length for length in wanted[1:] if length != 1]:
        raise DataError(
            f"targets of shape {tuple(y.shape)} do not fit outputs of shape {tuple(raw.shape)}: "
            f"this loss compares them with targets of shape {wanted}"
        )
    return y.reshape(wanted)
