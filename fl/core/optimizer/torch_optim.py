"""Any optimizer of torch as a module."""

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch

from fl.core.optimizer.module import OptiModule, check_fields
from fl.core.registry import nearest
from fl.core.vector import Vector
from fl.core.vector.torch_vector import TorchVector
from fl.errors import ConfigError


class TorchOptiModule(OptiModule):
    """What a class of `torch.optim`, with a learning rate of 1, takes off parameters that are zero.

    The parameters have the shapes of the model's and start each step at zero, so terms that depend on their values
    have no effect: use the `w_decay` and regularizers of the optimizer around it. `optim_cls` is a class of
    `torch.optim`, or its name; all other options are that class's own. Gradients must be of torch.
    """

    name = "torch-optim"

    def __init__(self, optim_cls: str | type[torch.optim.Optimizer], **options: Any) -> None:
        self._class = _lookup(optim_cls)
        if options.get("weight_decay"):
            raise ConfigError(f"{self.name}: weight_decay has no effect here: set w_decay of the optimizer around it")
        self._options = {name: value for name, value in options.items() if name != "lr"}
        self._build([torch.zeros(1, 1)])  # so that options it does not take are found now
        self._optimizer: torch.optim.Optimizer | None = None
        self._weights: TorchVector | None = None
        self._restored: Mapping[str, Any] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        if "optim_cls" not in config:
            raise ConfigError(f"{cls.name}: option 'optim_cls' is missing: name a class of torch.optim, such as Adam")
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        return {"optim_cls": self._class.__name__, **self._options}

    def run(self, gradients: Vector) -> Vector:
        if not isinstance(gradients, TorchVector):
            raise ConfigError(
                f"{self.name} needs gradients of torch, but got a {type(gradients).__name__}: use it with torch models"
            )
        optimizer, weights = self._prepared(gradients)
        weights.flat.zero_()
        # a copy, because some of torch's optimizers write into the gradients
        parts = gradients.copy().arrays().values()
        for parameter, gradient in zip(optimizer.param_groups[0]["params"], parts, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return -weights

    def _prepared(self, gradients: TorchVector) -> tuple[torch.optim.Optimizer, TorchVector]:
        """The optimizer, and the buffer its parameters are views of."""
        if self._optimizer is None or self._weights is None:
            self._weights = gradients.zeros_like()
            self._optimizer = self._build(list(self._weights.arrays().values()))
            if self._restored is not None:
                self._load(self._optimizer, self._restored)
        return self._optimizer, self._weights

    def _build(self, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        try:
            return self._class(parameters, lr=1.0, **self._options)  # type: ignore[call-arg]  # every listed one has lr
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.name}: torch.optim.{self._class.__name__} refuses: {error}") from None

    @staticmethod
    def _load(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        tensors = {int(index): {name: _tensor(value) for name, value in part.items()} for index, part in state.items()}
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": tensors, "param_groups": groups})

    def get_state(self) -> dict[str, Any]:
        if self._optimizer is None:
            return {"parameters": None if self._restored is None else dict(self._restored)}
        parts = self._optimizer.state_dict()["state"]
        return {
            "parameters": {str(i): {name: _array(value) for name, value in part.items()} for i, part in parts.items()}
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        check_fields(self.name, state, {"parameters"})
        self._restored = state["parameters"]
        self._optimizer = self._weights = None


def _lookup(optim_cls: str | type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A class of torch.optim, looked up there and nowhere else. Raises `ConfigError`."""
    known = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    name = optim_cls if isinstance(optim_cls, str) else getattr(optim_cls, "__name__", repr(optim_cls))
    if name not in known or (not isinstance(optim_cls, str) and known[name] is not optim_cls):
        raise ConfigError(f"torch-optim: {name!r} is no optimizer of torch.optim; {nearest(name, known)}")
    if inspect.signature(known[name].step).parameters["closure"].default is inspect.Parameter.empty:
        raise ConfigError(f"torch-optim: {name} evaluates the model within a step, which a module cannot do")
    if name == "SparseAdam":
        raise ConfigError("torch-optim: SparseAdam wants sparse gradients, and here they are dense: use Adam")
    return known[name]


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy().copy() if torch.is_tensor(value) else value


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
