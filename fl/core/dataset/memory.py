"""A dataset that fits in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl.core.data_info import DataInfo
from fl.core.dataset import checks
from fl.core.dataset.api import Batch, Dataset
from fl.core.dataset.files import READERS, check_file, read_array
from fl.core.dataset.svmlight import is_svmlight, read_svmlight
from fl.core.registry import nearest
from fl.core.vector import Array
from fl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Column = int | str


class InMemoryDataset(Dataset):
    """Features, a target and sample weights, all in memory.

    `data` is an array whose first axis counts the samples, a scipy sparse matrix, a DataFrame, or the path of a file:
    `.csv`, `.npy`, sparse `.npz`, or svmlight (`.svmlight`, `.libsvm`, `.svm`, packed with `.gz` or `.bz2`), which
    brings its labels. `target` and `s_wght` are a column of a table, an array, or a path to one; a list of
    columns, or an array of shape (n, outputs), is a target of several values. `f_cols` are the columns that are
    features; without it, all but the target and the weights. `n_features` is how many there must be: a svmlight file
    does not say it, and sites must agree. `zero_based` is for svmlight files whose indices count from 0.

    A target of whole numbers or booleans becomes int64, floats stay as they are, also where they happen to be whole:
    so a regression's target has the same dtype at every site. Classes that are exposed are integers or text.

    What could not be learned from is refused with a `DataError` that names the column and what to do: a missing file
    or column, no samples, text in a feature, NaN, lengths that differ.
    """

    name = "in-memory"

    def __init__(
        self,
        data: Any,
        target: Any = None,
        s_wght: Any = None,
        *,
        f_cols: Sequence[Column] | None = None,
        expose_classes: bool = False,
        expose_data_type: bool = False,
        n_features: int | None = None,
        zero_based: bool = False,
    ) -> None:
        source = str(data) if isinstance(data, str | Path) else "data"
        content, labels = _read(data, n_features=n_features, zero_based=zero_based)
        if target is not None:
            labels = target
        if hasattr(content, "columns"):
            x, y, weights = _from_table(content, labels, s_wght, f_cols, source)
        elif f_cols is not None:
            raise DataError(f"f_cols names columns, but {source} is no table: slice the array instead")
        else:
            x = checks.features(content, source)
            y, weights = _beside(labels, "target", source), _beside(s_wght, "s_wght", source)
        checks.n_features(x, n_features, source)
        self._x = x
        self._y = None if y is None else checks.target(y, len_of=x, source=source)
        self._classes = checks.classes(self._y, source=source) if expose_classes else None
        self._weights = None if weights is None else checks.weights(weights, len_of=x, source=source)
        self._sources = _describe({"data": data, "target": target, "s_wght": s_wght})
        self._options = {
            "f_cols": None if f_cols is None else list(f_cols),
            "expose_classes": expose_classes,
            "expose_data_type": expose_data_type,
            "n_features": n_features,
            "zero_based": zero_based,
        }

    @property
    def n_samples(self) -> int:
        return int(self._x.shape[0])

    def get_data_specs(self) -> DataInfo:
        shape = self._x.shape
        return DataInfo(
            n_samples=self.n_samples,
            n_features=shape[1] if len(shape) == 2 else None,
            input_shape=(0, *shape[1:]),
            classes=self._classes,
            data_type=self._x.dtype.name if self._options["expose_data_type"] else None,
        )

    def take(self, index: slice | Array) -> Batch:
        y = None if self._y is None else self._y[index]
        return Batch(self._x[index], y, None if self._weights is None else self._weights[index])

    def describe(self) -> dict[str, Any] | None:
        return None if self._sources is None else {"name": self.name, **self._sources, **self._options}


def _read(data: Any, *, n_features: int | None, zero_based: bool) -> tuple[Any, Any]:
    """What `data` holds, and its labels where it brings them."""
    if isinstance(data, str | Path) and is_svmlight(data):
        check_file(Path(data))
        return read_svmlight(Path(data), n_features=n_features, zero_based=zero_based)
    return (read_array(data) if isinstance(data, str | Path) else data), None


def _describe(sources: dict[str, Any]) -> dict[str, Any] | None:
    """Columns as they are and files by their absolute paths; None when one of them is an array."""
    if not all(given is None or isinstance(given, Path) or _is_named(given) for given in sources.values()):
        return None
    described = {key: str(Path(given).resolve()) if _is_file(given) else given for key, given in sources.items()}
    return described | {"data": str(Path(sources["data"]).resolve())}


def _from_table(
    table: "pd.DataFrame", target: Any, s_wght: Any, f_cols: Sequence[Column] | None, source: str
) -> tuple[Any, Any, Any]:
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{source}: more than one column is named {twice!r}: give each a name of its own")
    y = _column_or_beside(table, target, "target", source)
    weights = _column_or_beside(table, s_wght, "s_wght", source)
    taken = {column for given in (target, s_wght) for column in _columns_of(given)}
    columns = [column for column in table.columns if column not in taken] if f_cols is None else list(f_cols)
    for column in columns:
        _check_column(table, column, "f_cols", source)
        if column in taken:
            raise DataError(f"{source}: f_cols names {column!r}, which is the target or the weights: leave it out")
    return checks.table(table[columns], source), y, weights


def _column_or_beside(table: "pd.DataFrame", given: Any, what: str, source: str) -> Any:
    columns = _columns_of(given)
    for column in columns:
        _check_column(table, column, what, source)
    if not columns:
        return _beside(given, what, source)
    return table[columns[0] if len(columns) == 1 else columns].to_numpy()


def _columns_of(given: Any) -> list[Column]:
    """The columns that a target or weights name, none where they are values or a file."""
    if not _is_named(given) or _is_file(given):
        return []
    return list(given) if isinstance(given, list) else [given]


def _is_named(given: Any) -> bool:
    """Whether this is a name, rather than values: of a column or file, or a list of columns."""
    if isinstance(given, list):
        return bool(given) and all(isinstance(column, str) for column in given)
    return isinstance(given, int | str)


def _check_column(table: "pd.DataFrame", column: Column, what: str, source: str) -> None:
    if column not in table.columns:
        known = [str(name) for name in table.columns]
        listed = f"its columns are {', '.join(known)}"
        raise DataError(f"{source} has no column {column!r}, named by {what}: {nearest(str(column), known)} ({listed})")


def _beside(given: Any, what: str, source: str) -> Any:
    """A target or weights that are not in the table: as given, or read from a file of their own."""
    if isinstance(given, int) or (isinstance(given, str) and not Path(given).suffix):
        raise DataError(
            f"{what} {given!r} would be a column, but {source} is no table: give values or a file, {', '.join(READERS)}"
        )
    if not isinstance(given, str | Path):
        return given
    content = read_array(given)
    if hasattr(content, "columns") and content.shape[1] == 1:
        return content.iloc[:, 0].to_numpy()
    if hasattr(content, "columns"):
        raise DataError(f"{given} has {content.shape[1]} columns, and one is needed: {', '.join(content.columns)}")
    if hasattr(content, "tocsr"):
        raise DataError(f"{given} holds a sparse matrix: a {what} needs one value a sample, in a .csv or .npy file")
    return content


def _is_file(given: Any) -> bool:
    """Whether this names a file rather than a column."""
    return isinstance(given, Path) or (isinstance(given, str) and Path(given).suffix.lower() in READERS)
