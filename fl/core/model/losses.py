"""The losses of scikit-learn's SGD estimators, vectorised.

Each takes targets `y` and decision values `p` of one shape, and gives values of that shape; classifiers' targets are
±1, and z = y·p. Definitions: scikit-learn's user guide, "Stochastic Gradient Descent", mathematical formulation.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from fl.core.vector import Array

MAX_SLOPE: Final = 1e12
"""scikit-learn bounds |∂loss/∂p| so that a diverging model stays finite a little longer."""


class Loss(NamedTuple):
    """A loss and its derivative in the decision value; both take (y, p, epsilon)."""

    value: Callable[[Array, Array, float], Any]
    slope: Callable[[Array, Array, float], Any]


def _bounded(slope: Array) -> Any:
    return np.minimum(np.maximum(slope, -MAX_SLOPE), MAX_SLOPE)


REGRESSION: Final = {
    "squared_error": Loss(
        lambda y, p, _: 0.5 * (p - y) ** 2,
        lambda y, p, _: _bounded(p - y),
    ),
    "huber": Loss(
        lambda y, p, eps: np.where(abs(p - y) <= eps, 0.5 * (p - y) ** 2, eps * (abs(p - y) - 0.5 * eps)),
        lambda y, p, eps: np.minimum(np.maximum(p - y, -eps), eps),
    ),
    "epsilon_insensitive": Loss(
        lambda y, p, eps: np.maximum(abs(p - y) - eps, 0.0),
        lambda y, p, eps: np.sign(p - y) * (abs(p - y) > eps),
    ),
    "squared_epsilon_insensitive": Loss(
        lambda y, p, eps: np.maximum(abs(p - y) - eps, 0.0) ** 2,
        lambda y, p, eps: _bounded(2.0 * np.sign(p - y) * np.maximum(abs(p - y) - eps, 0.0)),
    ),
}
CLASSIFICATION: Final = {
    "hinge": Loss(
        lambda y, p, _: np.maximum(1.0 - y * p, 0.0),
        lambda y, p, _: -y * (y * p <= 1.0),
    ),
    "perceptron": Loss(
        lambda y, p, _: np.maximum(-y * p, 0.0),
        lambda y, p, _: -y * (y * p <= 0.0),
    ),
    "log_loss": Loss(
        lambda y, p, _: np.logaddexp(0.0, -y * p),
        # -y / (1 + exp(y*p)), by the hyperbolic tangent because it cannot overflow
        lambda y, p, _: 0.5 * y * (np.tanh(0.5 * y * p) - 1.0),
    ),
    "modified_huber": Loss(
        lambda y, p, _: np.where(y * p >= -1.0, np.maximum(1.0 - y * p, 0.0) ** 2, -4.0 * y * p),
        lambda y, p, _: -y * np.minimum(np.maximum(2.0 - 2.0 * y * p, 0.0), 4.0),
    ),
    "squared_hinge": Loss(
        lambda y, p, _: np.maximum(1.0 - y * p, 0.0) ** 2,
        lambda y, p, _: _bounded(-2.0 * y * np.maximum(1.0 - y * p, 0.0)),
    ),
    **REGRESSION,
}
