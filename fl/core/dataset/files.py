"""Reading arrays and tables from files; pandas and scipy are imported only for the formats that need them."""

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fl.core.dataset.svmlight import SVMLIGHT, is_svmlight
from fl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_array(path: str | Path) -> Any:
    """The content of a file: `.csv` as a DataFrame, `.npy` as an array, `.npz` as a scipy CSR matrix.

    Raises `DataError` naming the file and what is wrong with it.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None and is_svmlight(path):
        raise DataError(f"{path}: a svmlight file holds samples with their labels: give it as the data, without target")
    if reader is None:
        kinds = ", ".join((*READERS, *SVMLIGHT))
        raise DataError(f"{path}: cannot read files of this kind: use one of {kinds}")
    check_file(path)
    try:
        return reader(path)
    except DataError:
        raise
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading it needs {error.name}: install fluffle[sklearn]") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def check_file(path: Path) -> None:
    """Raise `DataError` unless there is a file, saying where it was looked for."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder: name a file in it")
    if not path.is_file():
        raise DataError(f"{path}: no such file (looked in {path.parent.resolve()})")


def read_table(path: Path, **options: Any) -> "pd.DataFrame":
    """A CSV file with a header, by pandas with `options`. Raises `DataError`, and `ValueError` where pandas does."""
    import pandas as pd  # noqa: PLC0415  # only where there is a table

    with path.open(encoding="utf-8-sig", newline="") as file:
        _check_header(next(csv.reader(file), []), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # columns of mixed kinds are refused by their names
        table: pd.DataFrame = pd.read_csv(path, **options)
    if not isinstance(table.index, pd.RangeIndex) or table.index.start != 0:
        raise DataError(f"{path}: its rows have more fields than its header names: name every column")
    return table


def _check_header(header: Sequence[str], path: Path) -> None:
    """Refuse what pandas reads without a word: another delimiter, names that come twice, no header at all."""
    if len(header) == 1 and (found := [mark for mark in ";\t|" if mark in header[0]]):
        raise DataError(
            f"{path}: its only column is {header[0]!r}, so its delimiter seems to be {found[0]!r}: write it with commas"
        )
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise DataError(f"{path}: more than one column is named {twice[0]!r}: give each a name of its own")
    if header and all(_is_measured(name) for name in header):
        raise DataError(f"{path}: its first line has numbers, {','.join(header[:3])}, where names of columns belong")


def _is_measured(name: str) -> bool:
    """Whether this is a number that names no column, as 0, 1, 2 may."""
    try:
        float(name)
    except ValueError:
        return False
    return not name.strip().isdigit()


def _read_npy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> Any:
    import scipy.sparse  # noqa: PLC0415  # only where data is sparse

    try:
        return scipy.sparse.csr_matrix(scipy.sparse.load_npz(path))
    except ValueError as error:
        raise DataError(
            f"{path}: cannot be read: {error}; a .npz is what scipy.sparse.save_npz writes, dense arrays are .npy"
        ) from error


READERS: Final[dict[str, Callable[[Path], Any]]] = {".csv": read_table, ".npy": _read_npy, ".npz": _read_npz}
