"""Models of torch."""

from fl.core.model.torch import TorchModel
from fl.core.vector.torch_vector import TorchVector

__all__ = ["TorchModel", "TorchVector"]
