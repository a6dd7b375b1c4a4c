"""A dataset that fits in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fl.core.data_info import DataInfo
from fl.core.dataset import checks
from fl.core.dataset.api import Batch, Dataset
from fl.core.dataset.files import READERS, read_array
from fl.core.registry import nearest
from fl.core.vector import Array
from fl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Column = int | str


class InMemoryDataset(Dataset):
    """Features, a target and sample weights, all in memory.

    `data` is an array whose first axis counts the samples, a scipy sparse matrix, a DataFrame, or the path of a
    `.csv`, `.npy` or (sparse) `.npz` file. `target` and `s_wght` are a column of a table, an array, or a path to one.
    `f_cols` are the columns that are features; without it, all but the target and the weights.

    What could not be learned from is refused with a `DataError` that names the column and what to do: a missing file
    or column, no samples, text in a feature, NaN, lengths that differ. Labels that are whole floats become integers.
    """

    name = "in-memory"

    def __init__(
        self,
        data: Any,
        target: Any = None,
        *,
        s_wght: Any = None,
        f_cols: Sequence[Column] | None = None,
        expose_classes: bool = False,
        expose_data_type: bool = False,
    ) -> None:
        source = str(data) if isinstance(data, str | Path) else "data"
        content = read_array(data) if isinstance(data, str | Path) else data
        if hasattr(content, "columns"):
            x, y, weights = _from_table(content, target, s_wght, f_cols, source)
        elif f_cols is not None:
            raise DataError(f"f_cols names columns, but {source} is no table: slice the array instead")
        else:
            x, y, weights = checks.features(content, source), _beside(target), _beside(s_wght)
        self._x = x
        self._y = None if y is None else checks.target(y, len_of=x, source=source)
        if expose_classes:
            checks.classes(self._y, source=source)
        self._weights = None if weights is None else checks.weights(weights, len_of=x, source=source)
        self._expose_classes, self._expose_data_type = expose_classes, expose_data_type
        self._f_cols = None if f_cols is None else list(f_cols)
        self._sources = _describe({"data": data, "target": target, "s_wght": s_wght})

    @property
    def n_samples(self) -> int:
        return int(self._x.shape[0])

    def get_data_specs(self) -> DataInfo:
        shape = self._x.shape
        classes = tuple(np.unique(self._y).tolist()) if self._expose_classes and self._y is not None else None
        return DataInfo(
            n_samples=self.n_samples,
            n_features=shape[1] if len(shape) == 2 else None,
            input_shape=(0, *shape[1:]),
            classes=classes,
            data_type=self._x.dtype.name if self._expose_data_type else None,
        )

    def take(self, index: slice | Array) -> Batch:
        y = None if self._y is None else self._y[index]
        return Batch(self._x[index], y, None if self._weights is None else self._weights[index])

    def describe(self) -> dict[str, Any] | None:
        if self._sources is None:
            return None
        exposed = {"expose_classes": self._expose_classes, "expose_data_type": self._expose_data_type}
        return {"name": self.name, **self._sources, "f_cols": self._f_cols, **exposed}


def _describe(sources: dict[str, Any]) -> dict[str, Any] | None:
    """Columns as they are and files by their absolute paths; None when one of them is an array."""
    if not all(source is None or isinstance(source, str | Path | int) for source in sources.values()):
        return None
    return {key: str(Path(given).resolve()) if _is_array_file(given) else given for key, given in sources.items()}


def _from_table(
    table: "pd.DataFrame", target: Any, s_wght: Any, f_cols: Sequence[Column] | None, source: str
) -> tuple[Any, Any, Any]:
    y, weights = (
        _column_or_beside(table, given, what, source) for given, what in ((target, "target"), (s_wght, "s_wght"))
    )
    taken = [given for given in (target, s_wght) if isinstance(given, int | str)]
    columns = [column for column in table.columns if column not in taken] if f_cols is None else list(f_cols)
    for column in columns:
        _check_column(table, column, "f_cols", source)
    return checks.table(table[columns], source), y, weights


def _column_or_beside(table: "pd.DataFrame", given: Any, what: str, source: str) -> Any:
    if isinstance(given, int | str) and not _is_array_file(given):
        _check_column(table, given, what, source)
        return table[given].to_numpy()
    return _beside(given)


def _check_column(table: "pd.DataFrame", column: Column, what: str, source: str) -> None:
    if column not in table.columns:
        known = [str(name) for name in table.columns]
        listed = f"its columns are {', '.join(known)}"
        raise DataError(f"{source} has no column {column!r}, named by {what}: {nearest(str(column), known)} ({listed})")


def _beside(given: Any) -> Any:
    """A target or weights that are not in the table: as given, or read from a file of their own."""
    if not isinstance(given, str | Path):
        return given
    content = read_array(given)
    if hasattr(content, "columns") and content.shape[1] == 1:
        return content.iloc[:, 0].to_numpy()
    if hasattr(content, "columns"):
        raise DataError(f"{given} has {content.shape[1]} columns, and one is needed: {', '.join(content.columns)}")
    return content


def _is_array_file(given: Any) -> bool:
    """Whether this names a file rather than a column."""
    return isinstance(given, Path) or (isinstance(given, str) and Path(given).suffix.lower() in READERS)
