"""What metrics of numbers read targets and predictions as."""

import numpy as np

from fl.core.vector import Array
from fl.errors import DataError


def paired(name: str, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Both in float64 and of shape (n, outputs). Raises `DataError`.

    Shapes must be the same but for axes of length 1: broadcasting would hide a mistake.
    """
    for what, values in (("true values", y_true), ("predictions", y_pred)):
        if values.dtype.kind not in "fiub":
            raise DataError(f"{name} measures numbers, but the {what} are {values.dtype}: use a metric of classes")
    shapes = [tuple(length for length in array.shape[1:] if length != 1) for array in (y_true, y_pred)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{name}: true values of shape {y_true.shape} and predictions of shape {y_pred.shape} differ")
    size = (len(y_true), int(np.prod(shapes[0])))
    return y_true.reshape(size).astype(np.float64), y_pred.reshape(size).astype(np.float64)
