"""Files of sparse samples in the svmlight (libsvm) format: `label index:value index:value ...` a line."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.core.vector import Array
from fl.errors import ConfigError, DataError

SVMLIGHT: Final = (".svmlight", ".libsvm", ".svm")
PACKED: Final = (".gz", ".bz2")


def is_svmlight(path: str | Path) -> bool:
    """By its name, which may end in .gz or .bz2 after that."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SVMLIGHT


def read_svmlight(path: Path, *, n_features: int | None = None, zero_based: bool = False) -> tuple[Any, Array]:
    """Samples as a CSR matrix of float64, and their labels: integers where all are whole.

    A file does not say how many features there are: without `n_features` it is the highest index that occurs, which
    may differ between sites. Indices count from 1, as the format has it, unless `zero_based`; it is never guessed,
    because the sites' guesses could differ without anybody noticing. Raises `DataError`.
    """
    if n_features is not None and n_features < 1:
        raise ConfigError(f"n_features is {n_features}: use at least 1")
    matrix, labels = _load(path)
    if not zero_based and matrix.nnz:
        if matrix.indices.min() == 0:
            raise DataError(f"{path}: has an index 0, so its indices count from 0: say zero_based=True")
        matrix.indices -= 1
    highest = int(matrix.indices.max()) + 1 if matrix.nnz else 1
    if n_features is not None and highest > n_features:
        raise DataError(f"{path}: has a feature {highest}, counted from 1, but n_features is {n_features}")
    shape = (len(labels), n_features or highest)
    matrix = type(matrix)((matrix.data, matrix.indices, matrix.indptr), shape)
    return matrix, np.asarray(labels, np.int64) if (labels == np.round(labels)).all() else labels


def write_svmlight(path: Path, matrix: Any, labels: Array) -> None:
    """What `read_svmlight` reads, with indices from 1."""
    from sklearn.datasets import dump_svmlight_file  # noqa: PLC0415  # only for files of this format

    dump_svmlight_file(matrix, labels, str(path), zero_based=False)


def _load(path: Path) -> tuple[Any, Array]:
    try:
        from sklearn.datasets import load_svmlight_file  # noqa: PLC0415  # only for files of this format

        matrix, labels = load_svmlight_file(str(path), zero_based=True)
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading it needs {error.name}: install fluffle[sklearn]") from None
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as lines of `label index:value ...`, with indices in rising order: {error}"
        ) from error
    if not len(labels):
        raise DataError(f"{path}: is empty, so there is nothing to learn from")
    return matrix, labels
