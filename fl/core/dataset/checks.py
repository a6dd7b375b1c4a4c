"""What features, targets and weights must be, and what people are told when they are not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fl.core.data_info import Label
from fl.core.vector import Array
from fl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def table(frame: "pd.DataFrame", source: str) -> Array:
    """A table's feature columns as a float array of shape (n, features). Raises `DataError` naming columns."""
    from pandas.api.types import is_numeric_dtype  # noqa: PLC0415  # there is a DataFrame already

    if frame.empty:
        raise DataError(
            f"{source} has {len(frame)} rows and {frame.shape[1]} features, so there is nothing to learn from"
        )
    kinds = zip(frame.columns, frame.dtypes, strict=True)
    strange = [(name, dtype) for name, dtype in kinds if not is_numeric_dtype(dtype) or dtype.kind == "c"]
    if strange:
        raise DataError(
            f"{source}: no numbers in {_columns([name for name, _ in strange])} ({strange[0][1]}): encode as real "
            "numbers, such as one column of 0 and 1 for each category, or leave out with f_cols; a target or weights "
            "are named by target and s_wght"
        )
    holes = frame.columns[frame.isna().any()].tolist()
    if holes:
        raise DataError(f"{source}: missing values (NaN) in {_columns(holes)}: fill or drop them")
    # pandas' nullable dtypes know the numpy dtype of their values
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in frame.dtypes]
    array = features(frame.to_numpy(np.result_type(np.float32, *dtypes)), source, frame.columns.tolist())
    return np.asarray(array)


def features(data: Any, source: str, names: Sequence[Any] | None = None) -> Any:
    """Samples as a float array, or as a CSR matrix of floats. Raises `DataError`."""
    data = _canonical(data) if hasattr(data, "tocsr") else np.asarray(data)
    if data.dtype.kind not in "fiub":
        raise DataError(f"{source} holds {data.dtype} where real numbers are needed: encode it as numbers")
    if data.ndim < 2:
        raise DataError(f"{source} has shape {data.shape}: samples need an axis of features, as reshape(-1, 1) gives")
    if 0 in data.shape:
        raise DataError(f"{source} has shape {data.shape}, so there is nothing to learn from")
    if data.dtype.kind != "f":
        data = data.astype(np.result_type(np.float32, data.dtype))  # exact for images of bytes, in half the memory
    finite = np.isfinite(data.data if hasattr(data, "tocsr") else data)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=0)).tolist() if data.ndim == finite.ndim == 2 else []
        where = f" in {_columns([names[i] if names else i for i in bad])}" if bad else ""
        raise DataError(f"{source} has values that are NaN or infinite{where}: fill or drop them")
    return data


def n_features(data: Any, expected: int | None, source: str) -> None:
    """Raise `DataError` unless samples have as many features as they were said to have."""
    if expected is not None and (data.ndim != 2 or data.shape[1] != expected):
        raise DataError(f"n_features is {expected}, but samples of {source} have shape {tuple(data.shape[1:])}")


def target(values: Any, *, len_of: Any, source: str) -> Array:
    """Labels or values, of shape (n,) or (n, outputs): int64, text, or floats as they are. Raises `DataError`."""
    array = _one_each(values, len_of, source, "the target")
    if array.dtype.kind in "OUST":
        array = _plain(array, source)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind not in "fiub":
        raise DataError(f"the target of {source} holds {array.dtype}: use real numbers or text")
    if not np.isfinite(array).all():
        raise DataError(f"the target of {source} has values that are NaN or infinite: fill or drop them")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(
            f"the target of {source} has numbers beyond 2^63, such as {array.max()}: number its classes anew"
        )
    return array if array.dtype.kind == "f" else np.asarray(array, np.int64)


def classes(labels: Array | None, *, source: str) -> tuple[Label, ...]:
    """The labels there are, sorted: integers or text. Raises `DataError` for values, which are no classes."""
    if labels is None:
        raise DataError(f"expose_classes: {source} has no target to take classes from: name it with target=")
    if labels.ndim > 1:
        raise DataError(
            f"expose_classes: the target of {source} has {labels.shape[1:]} values a sample, and classes are one label "
            "each: leave expose_classes out, or give the label"
        )
    found = np.unique(labels)
    if found.dtype.kind == "f":
        # beyond 2^53 floats are no longer exact, and every one of them is whole
        if not ((found == np.round(found)) & (np.abs(found, dtype=np.float64) < 2.0**53)).all():
            raise DataError(
                f"expose_classes: the target of {source} holds numbers that are not whole, so it has values and no "
                "classes: leave expose_classes out, or encode the classes"
            )
        found = found.astype(np.int64)
    return tuple(found.tolist())


def weights(values: Any, *, len_of: Any, source: str) -> Array:
    """Sample weights, finite and not negative. Raises `DataError`."""
    array = _one_each(values, len_of, source, "s_wght")
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(f"s_wght of {source} must be finite numbers of at least 0")
    if array.ndim > 1:
        raise DataError(f"s_wght of {source} has shape {array.shape}: give one weight a sample")
    if not array.any():
        raise DataError(f"s_wght of {source} is 0 for every sample, so there is nothing to learn from")
    return np.asarray(array, np.float64)


def _one_each(values: Any, len_of: Any, source: str, what: str) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 0 or array.shape[0] != len_of.shape[0]:
        given = array.shape[0] if array.ndim else 1
        raise DataError(f"{what} has {given} values for the {len_of.shape[0]} samples of {source}: give one each")
    return array


def _plain(values: Array, source: str) -> Array:
    """Objects as text or numbers."""
    kinds = {type(label) for label in values.ravel().tolist()}
    if values.ndim > 1 and not kinds <= {int, float, bool}:
        raise DataError(f"the target of {source} has text in shape {values.shape}: give one label a sample")
    if kinds <= {str, np.str_}:
        return np.asarray(values, str)
    if kinds <= {int, bool}:
        try:
            return np.asarray(values, np.int64)
        except OverflowError:
            raise DataError(f"the target of {source} has numbers of 2^63 and more: number its classes anew") from None
    if kinds <= {int, float, bool}:
        return np.asarray(values, np.float64)
    shown = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"the target of {source} mixes {shown}: fill what is missing, and make labels all of one kind")


def _canonical(matrix: Any) -> Any:
    """CSR without duplicate entries; the caller's matrix stays as it is."""
    csr = matrix.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def _columns(names: list[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:5]) + (" ..." if len(names) > 5 else "")
    return f"column {shown}" if len(names) == 1 else f"columns {shown}"
