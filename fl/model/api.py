"""What models and vectors promise, for those who write their own."""

from fl.core.model.api import Model
from fl.core.vector import NumpyVector, Vector

__all__ = ["Model", "NumpyVector", "Vector"]
