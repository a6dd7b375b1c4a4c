"""What `fluffle split` cuts: a file, or a data set that comes with scikit-learn; and how its rows are written again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fl.core.dataset import checks
from fl.core.dataset.files import READERS, check_file, read_array, read_table
from fl.core.dataset.svmlight import SVMLIGHT, is_svmlight, read_svmlight, write_svmlight
from fl.core.registry import nearest
from fl.core.vector import Array
from fl.errors import ConfigError, DataError

BUNDLED: Final = ("breast-cancer", "diabetes", "digits", "iris", "wine")
"""Data sets that scikit-learn brings along; `target` is what is to be predicted."""


@dataclass(frozen=True, slots=True)
class Source:
    """Samples as they were read, with what is to be predicted, of shape (n,)."""

    name: str
    suffix: str
    """Of the files that shares are written to: .csv, .npy, .npz or .svmlight."""
    rows: Any
    """A DataFrame, an array, or a CSR matrix."""
    target: Array | None
    column: str | None = None
    """Of a table: which column is the target."""

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def write(self, folder: Path, part: str, index: Array) -> list[Path]:
        """Write the rows at these places, as `part` and the suffix; returns the files."""
        path = folder / f"{part}{self.suffix}"
        match self.suffix:
            case ".csv":
                self.rows.iloc[index].to_csv(path, index=False, lineterminator="\n")
                return [path]
            case ".svmlight":
                assert self.target is not None, "a svmlight file has labels"
                write_svmlight(path, self.rows[index], self.target[index])
                return [path]
            case ".npz":
                import scipy.sparse  # noqa: PLC0415  # only where data is sparse

                scipy.sparse.save_npz(path, self.rows[index])
            case _:
                np.save(path, self.rows[index])
        if self.target is None:
            return [path]
        beside = folder / _target_file(part)
        np.save(beside, self.target[index])
        return [path, beside]

    def options(self, part: str, *, path: str = "") -> dict[str, Any]:
        """How a site's TOML names what `write` wrote, in the folder `path`."""
        options: dict[str, Any] = {"path": f"{path}{part}{self.suffix}"}
        if self.suffix == ".svmlight":
            options["n_features"] = int(self.rows.shape[1])
        elif self.column is not None:
            options["target"] = self.column
        elif self.target is not None:
            options["target"] = f"{path}{_target_file(part)}"
        return options


def _target_file(part: str) -> str:
    return f"{part}_target.npy"


def load_source(data: str, target: str | None) -> Source:
    """Read `data`, a file or the name of a bundled data set. Raises `DataError`, `ConfigError`.

    `target` is a column of a CSV file, or for arrays a file of its own. A CSV file's fields stay the text they are.
    """
    path = Path(data)
    if data in BUNDLED and not path.is_file():
        if target not in {None, "target"}:
            raise ConfigError(f"--target {target}: what {data} has to predict is named 'target'")
        return _bundled(data)
    if not path.suffix and not path.exists():
        raise DataError(
            f"{data}: no such file, and none of the data sets {', '.join(BUNDLED)}; {nearest(data, BUNDLED)}"
        )
    if is_svmlight(path):
        return _svmlight(path, target)
    if path.suffix.lower() == ".csv":
        return _csv(path, target)
    rows = read_array(path)
    if rows.ndim == 0 or rows.shape[0] == 0:
        raise DataError(f"{path}: has no samples")
    return Source(path.stem, path.suffix.lower(), rows, None if target is None else _beside(rows, target, path))


def _bundled(name: str) -> Source:
    try:
        from sklearn import datasets  # noqa: PLC0415  # only for those that it brings
    except ModuleNotFoundError:
        raise DataError(f"the data set {name} comes with scikit-learn: install fluffle[sklearn]") from None
    frame = getattr(datasets, f"load_{name.replace('-', '_')}")(as_frame=True).frame
    return Source(name, ".csv", frame, frame["target"].to_numpy(), "target")


def _svmlight(path: Path, target: str | None) -> Source:
    if target is not None:
        raise ConfigError(f"--target {target}: a svmlight file brings its own labels")
    check_file(path)
    rows, labels = read_svmlight(path)
    return Source(path.name.partition(".")[0], SVMLIGHT[0], rows, labels)


def _csv(path: Path, target: str | None) -> Source:
    check_file(path)
    try:
        rows = read_table(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: cannot be read: {error}") from error
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: reading it needs {error.name}: install fluffle[sklearn]") from None
    if rows.empty:
        raise DataError(f"{path}: has no samples")
    if target is None:
        return Source(path.stem, ".csv", rows, None)
    if target not in rows.columns:
        known = list(rows.columns)
        listed = f"its columns are {', '.join(known)}"
        raise DataError(f"{path} has no column {target!r}, named by --target: {nearest(target, known)} ({listed})")
    return Source(path.stem, ".csv", rows, _values(rows[target].to_numpy(str), path), target)


def _values(text: Array, path: Path) -> Array:
    """A column of text as integers, floats, or the text that it is."""
    missing = np.flatnonzero(np.char.strip(text) == "")
    if len(missing):
        raise DataError(f"{path}: its target is missing in line {missing[0] + 2}: fill or drop it")
    for dtype in (np.int64, np.float64):
        try:
            numbers = text.astype(dtype)
        except (ValueError, OverflowError):
            continue
        return checks.target(numbers, len_of=text, source=str(path))
    return text


def _beside(rows: Any, target: str, path: Path) -> Array:
    if Path(target).suffix.lower() not in READERS:
        raise ConfigError(f"--target {target}: {path} has no columns, so give a file, {' or '.join(list(READERS)[:2])}")
    values = read_array(target)
    if hasattr(values, "columns"):
        if values.shape[1] != 1:
            raise DataError(f"{target} has {values.shape[1]} columns, and one is needed")
        values = values.iloc[:, 0].to_numpy()
    found = checks.target(values, len_of=rows, source=str(path))
    if found.ndim != 1:
        raise DataError(f"{target} has shape {found.shape}: shares are cut by one value a sample")
    return found


def toml_table(options: Mapping[str, Any]) -> str:
    """An inline table of TOML."""
    # JSON's strings, numbers and booleans are TOML's too
    return "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items()) + " }"
