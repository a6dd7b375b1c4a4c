"""Reading arrays and tables from files; pandas and scipy are imported only for the formats that need them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.errors import DataError


def read_array(path: str | Path) -> Any:
    """The content of a file: `.csv` as a DataFrame, `.npy` as an array, `.npz` as a scipy CSR matrix.

    Raises `DataError` naming the file and what is wrong with it.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: cannot read files of this kind: use one of {', '.join(READERS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file (looked in {path.parent.resolve()})")
    try:
        return reader(path)
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading it needs {error.name}: install fluffle[sklearn]") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read_csv(path: Path) -> Any:
    import pandas as pd  # noqa: PLC0415  # only where there is a table

    return pd.read_csv(path)


def _read_npy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> Any:
    import scipy.sparse  # noqa: PLC0415  # only where data is sparse

    return scipy.sparse.csr_matrix(scipy.sparse.load_npz(path))


READERS: Final[dict[str, Callable[[Path], Any]]] = {".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz}
