"""A module of our own: where its tensors lie, in which mode it is, and what people are told when it cannot be run."""

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import nn

from fl.core.model.torch.inputs import Inputs, as_array, has_nan, shapes
from fl.core.model.torch.tensors import BufferPolicy, ModuleTensors
from fl.errors import ConfigError, DataError, ModelError

Tensor = torch.Tensor
Autocast = Literal["bfloat16"]
MISFITS = (RuntimeError, ValueError, IndexError, TypeError)
"""What layers and losses raise for inputs that do not fit them."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a module is run. Raises `ConfigError`."""

    buffers: BufferPolicy = "average"
    autocast: Autocast | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if self.buffers not in get_args(BufferPolicy):
            raise ConfigError(f"torch: buffers is {self.buffers!r}: use one of {', '.join(get_args(BufferPolicy))}")
        if self.autocast not in {*get_args(Autocast), None}:
            raise ConfigError(
                f'torch: autocast is {self.autocast!r}: use "bfloat16" or None; float16 would lose small gradients'
            )

    def to_config(self) -> dict[str, Any]:
        return asdict(self)


class Network:
    """A copy of a module, with its tensors in flat buffers on one device. Raises `ModelError`."""

    def __init__(self, module: nn.Module, options: Options, device: torch.device) -> None:
        if not isinstance(module, nn.Module):
            raise ModelError(f"give a torch.nn.Module, not {type(module).__name__}")
        try:
            self.module = copy.deepcopy(module)
        except (RuntimeError, TypeError) as error:
            raise ModelError(f"the module cannot be copied, and the one given must not be changed: {error}") from error
        self.options = options
        self._training: bool | None = None
        self.expected: tuple[int, ...] | None = None
        """Shape of one sample, where the data info told it."""
        self.move(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A network with tensors of its own; copied one by one, they would no longer lie in flat buffers."""
        twin = type(self)(self.module, self.options, self.like.device)
        twin.expected = self.expected
        return twin

    def move(self, device: torch.device) -> None:
        """Put all tensors on a device; the vectors of `tensors` are new ones."""
        self.module.to(device)
        self.tensors = ModuleTensors(self.module, self.options.buffers)
        self.like = self.tensors.all.flat
        self._call: Callable[..., Any] = self.module
        if self.options.compile:
            self._call = torch.compile(self.module)

    def set_training(self, training: bool) -> None:
        """Switch dropout and statistics of batches on or off."""
        if self._training is training:  # walking over all layers takes longer than a small step
            return
        self._training = training
        self.module.train(training)
        if training and self.options.buffers == "frozen":
            for item in self.tensors.buffers:
                if item.tensor.is_floating_point():
                    item.owner.training = False

    def __call__(self, inputs: Inputs) -> Any:
        """Outputs in the dtype of the weights. Raises `DataError` for inputs that do not fit."""
        return self._run(self._call, inputs)

    def eager(self, inputs: Inputs) -> Any:
        """The same without what `torch.compile` made of the module."""
        return self._run(self.module, inputs)

    def _run(self, call: Callable[..., Any], inputs: Inputs) -> Any:
        args, kwargs = inputs
        try:
            if self.options.autocast is None:
                return call(*args, **kwargs)
            with self.autocast():
                raw = call(*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except MISFITS as error:
            raise self._misfit(inputs, error) from error
        return self.as_weights(raw)

    def as_weights(self, raw: Any) -> Any:
        """Outputs in the dtype of the weights."""
        return raw.to(self.like.dtype) if isinstance(raw, Tensor) else raw

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Where outputs are computed in bfloat16, if that is wanted."""
        if self.options.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.like.device.type, torch.bfloat16)

    def check_finite(self, values: Tensor, inputs: Inputs, y: Any = None) -> None:
        """Raise `DataError` when outputs or losses are not finite because the inputs or targets were not."""
        # the sum of finite numbers may be infinite, but then the inputs are looked at, and nothing is wrong with them
        if math.isfinite(values.detach().sum().item()):
            return
        if has_nan(inputs):
            raise DataError(
                f"samples of shape {shapes(inputs)} have features that are NaN or infinite: fill or drop them"
            )
        targets = as_array(y)
        if targets.dtype.kind == "f" and not np.isfinite(targets).all():
            raise DataError("these samples have targets that are NaN or infinite: fill or drop them")

    def _misfit(self, inputs: Inputs, error: Exception) -> DataError:
        expected = "" if self.expected is None else f", while those of the data info are of shape {self.expected}"
        return DataError(f"the model does not run on samples of shape {shapes(inputs)}{expected}: {error}")
