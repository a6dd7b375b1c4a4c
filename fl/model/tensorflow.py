"""Models of Keras 3 on TensorFlow."""

from fl.core.model.tensorflow import TensorflowModel
from fl.core.vector.tensorflow_vector import TensorflowVector

__all__ = ["TensorflowModel", "TensorflowVector"]
