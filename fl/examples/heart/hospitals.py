"""The patients of four hospitals as plain arrays, each hospital encoded by itself.

Within each hospital patients fall at random, alike among the diseased and the others, into three parts: 60 % to learn
from, 15 % whose loss is watched and says which round was best, and 25 % that no training and no choice ever sees.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final

import numpy as np

from fl.core.vector import Array
from fl.errors import DataError
from fl.examples.heart import schema

if TYPE_CHECKING:
    import pandas as pd

PLACES: Final = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")
CREDIT: Final = (
    "Heart Disease (UCI, 1988, CC BY 4.0), collected by Andras Janosi, William Steinbrunn, Matthias Pfisterer and "
    "Robert Detrano"
)
"""Who is to be named with every result."""

VALID_SHARE: Final = 0.15
HELD_OUT_SHARE: Final = 0.25
DECIMALS: Final = 6
"""Of features: as many as text holds exactly, so that a CSV file gives back the same bits."""


@dataclass(frozen=True, slots=True)
class Patients:
    """`x` of shape (patients, features) float64, and `y` of shape (patients,): 1 diseased, 0 not."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Hospital:
    """One place's patients; `name` is its name as a client."""

    name: str
    place: str
    train: Patients
    valid: Patients
    held_out: Patients


def load_hospitals(seed: int = 0) -> tuple[Hospital, ...]:
    """The four hospitals, with patients parted by `seed`. Raises `DataError` without pandas."""
    table = _read()
    return tuple(
        _hospital(place, table[table["dataset"] == place], np.random.default_rng([seed, number]))
        for number, place in enumerate(PLACES)
    )


def union(parts: Iterable[Patients]) -> Patients:
    """The patients of several parts, as if they were one."""
    parts = list(parts)
    return Patients(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]))


def standardised(measured: Array, training: Array) -> Array:
    """(measured - mean) / deviation, both of the `training` patients; 0 where not measured.

    Both are of shape (patients, columns) with NaN where not measured; statistics are of measured values only. A column
    that the training patients do not have, or have all alike, becomes 0.
    """
    taken = ~np.isnan(training)
    count = np.maximum(taken.sum(axis=0), 1)
    mean = np.where(taken, training, 0.0).sum(axis=0) / count
    deviation = np.sqrt((np.where(taken, training - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return np.where(np.isnan(measured), 0.0, (measured - mean) * scale)


def _read() -> "pd.DataFrame":
    """The table as text."""
    try:
        import pandas as pd  # noqa: PLC0415  # only who reads the data needs it
    except ModuleNotFoundError:
        raise DataError("the example data are a table, and reading it needs pandas: install fluffle[sklearn]") from None
    with as_file(files("fl.examples") / "data" / "heart_disease_uci.csv") as path:
        table = pd.read_csv(path, dtype=str)
    # two patients are in it twice, and must not be both learned from and held out
    return table.drop_duplicates([column for column in table.columns if column != "id"])


def _hospital(place: str, table: "pd.DataFrame", rng: np.random.Generator) -> Hospital:
    y = schema.diseased(table)
    train, valid, held_out = _parts(y, rng)
    measured = schema.measurements(table)
    x = np.hstack([standardised(measured, measured[train]), schema.findings(table)]).round(DECIMALS)
    return Hospital(
        name=place.lower().replace(" ", "-"),
        place=place,
        train=Patients(x[train], y[train]),
        valid=Patients(x[valid], y[valid]),
        held_out=Patients(x[held_out], y[held_out]),
    )


def _parts(y: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Indices of those to learn from, to watch and to hold out, drawn among the diseased and the others apart."""
    train, valid, held_out = [], [], []
    for label in (0, 1):
        shuffled = rng.permutation(np.flatnonzero(y == label))
        n_held_out, n_valid = round(HELD_OUT_SHARE * len(shuffled)), round(VALID_SHARE * len(shuffled))
        held_out.append(shuffled[:n_held_out])
        valid.append(shuffled[n_held_out : n_held_out + n_valid])
        train.append(shuffled[n_held_out + n_valid :])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(valid)), np.sort(np.concatenate(held_out))
