"""Models of Keras 3 on TensorFlow: any `keras.Model`, with a loss."""

from fl.core.model.tensorflow.model import TensorflowModel

__all__ = ["TensorflowModel"]
