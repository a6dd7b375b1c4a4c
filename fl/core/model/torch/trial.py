"""Trying a module and its loss on two made-up samples, so that misfits show when a run starts."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fl.core.data_info import DataInfo
from fl.core.model.torch.labels import Target
from fl.core.model.torch.loss import SampleLoss
from fl.core.model.torch.network import MISFITS
from fl.errors import ModelError

Tensor = torch.Tensor


def try_out(run: Callable[[Tensor], Any], loss: SampleLoss, data_info: DataInfo, *, like: Tensor) -> int | None:
    """How many classes the outputs may score: their length along the axis of classes.

    None where that cannot be tried, since the data info has no shape of samples, or where only the loss, which is not
    torch's own, knows what to make of the outputs. Raises `ModelError` naming shapes where module, loss and data do
    not fit each other.
    """
    shape = sample_shape(data_info)
    if shape is None:
        return None
    raw = _run(run, shape, data_info.data_type, like)
    if not isinstance(raw, Tensor):
        return None
    if raw.ndim == 0 or raw.shape[0] != 2:
        raise ModelError(
            f"for 2 samples of shape {shape} the model gives outputs of shape {tuple(raw.shape)}, and not one for each"
        )
    _try_loss(loss, raw)
    return raw.shape[1] if raw.ndim > 1 else 1


def sample_shape(data_info: DataInfo) -> tuple[int, ...] | None:
    """Of one sample, where the data info tells it."""
    if data_info.input_shape is not None:
        return tuple(data_info.input_shape[1:])
    return None if data_info.n_features is None else (data_info.n_features,)


def made_up(data_info: DataInfo, like: Tensor) -> list[Tensor]:
    """Three samples that differ, of the data's shape: as floats, as whole numbers, or whichever the data may be."""
    shape = sample_shape(data_info)
    if shape is None:
        return []
    places = torch.arange(3 * math.prod(shape), device=like.device).reshape(3, *shape)
    # neither multiples of each other, nor with a period of their length
    waves = torch.sin(places.to(like.dtype) ** 1.5 + 1)
    return [
        waves if zeros.is_floating_point() else (waves > 0).to(zeros.dtype)
        for zeros in _zeros(shape, data_info.data_type, like)
    ]


def _run(run: Callable[[Tensor], Any], shape: tuple[int, ...], data_type: str | None, like: Tensor) -> Any:
    """Outputs for zeros: as floats, or as whole numbers, which token embeddings take."""
    first: Exception | None = None
    for samples in _zeros(shape, data_type, like):
        try:
            return run(samples)
        except MISFITS as error:
            first = first or error
    raise ModelError(f"the model does not run on samples of shape {shape}, which the data has: {first}") from first


def _zeros(shape: tuple[int, ...], data_type: str | None, like: Tensor) -> Iterator[Tensor]:
    if data_type is None or "float" in data_type:
        yield torch.zeros(2, *shape, device=like.device, dtype=like.dtype)
    if data_type is None or "float" not in data_type:
        yield torch.zeros(2, *shape, device=like.device, dtype=getattr(torch, data_type or "int64"))


def _try_loss(loss: SampleLoss, raw: Tensor) -> None:
    first: Exception | None = None
    for y in _targets(loss.target, raw):
        try:
            loss(raw, y)
        except MISFITS as error:
            first = first or error
        else:
            return
    if isinstance(first, ModelError):
        raise first
    if first is not None:
        raise ModelError(f"the loss does not take outputs of shape {tuple(raw.shape)}: {first}") from first


def _targets(target: Target, raw: Tensor) -> Iterator[Tensor]:
    """Zeros that a loss may want; one that torch does not know may want classes or values."""
    if target not in {Target.INDEX, Target.INTEGER}:
        yield torch.zeros_like(raw)
    if target in {Target.INDEX, Target.ANY}:
        yield torch.zeros((2, *raw.shape[2:]), device=raw.device, dtype=torch.int64)
