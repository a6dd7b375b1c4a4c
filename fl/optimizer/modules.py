"""Modules of an optimizer; those of a framework are imported when they are first asked for."""

import importlib
from typing import TYPE_CHECKING, Any

from fl.core.optimizer.adam import AdamModule, YogiModule
from fl.core.optimizer.adaptive import AdagradModule, RMSPropModule
from fl.core.optimizer.clipping import L2Clipping, L2GlobalClipping
from fl.core.optimizer.module import OptiModule
from fl.core.optimizer.momentum import EWMAModule, MomentumModule, YogiMomentumModule
from fl.core.optimizer.noise import GaussianNoiseModule
from fl.core.optimizer.scaffold import ScaffoldClientModule, ScaffoldServerModule

if TYPE_CHECKING:
    from fl.core.optimizer.tensorflow_optim import TensorflowOptiModule
    from fl.core.optimizer.torch_optim import TorchOptiModule

__all__ = [
    "AdagradModule",
    "AdamModule",
    "EWMAModule",
    "GaussianNoiseModule",
    "L2Clipping",
    "L2GlobalClipping",
    "MomentumModule",
    "OptiModule",
    "RMSPropModule",
    "ScaffoldClientModule",
    "ScaffoldServerModule",
    "TensorflowOptiModule",
    "TorchOptiModule",
    "YogiModule",
    "YogiMomentumModule",
]

_OF_FRAMEWORKS = {"TensorflowOptiModule": "tensorflow_optim", "TorchOptiModule": "torch_optim"}


def __getattr__(name: str) -> Any:
    if name in _OF_FRAMEWORKS:
        return getattr(importlib.import_module(f"fl.core.optimizer.{_OF_FRAMEWORKS[name]}"), name)
    raise AttributeError(f"module 'fl.optimizer.modules' has no attribute {name!r}")
