"""Models of scikit-learn."""

from fl.core.model.sklearn import SklearnSGDModel
from fl.core.vector import NumpyVector

__all__ = ["NumpyVector", "SklearnSGDModel"]
