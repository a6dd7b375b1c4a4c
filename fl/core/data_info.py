"""What a site tells about its data: as little as the model needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fl.errors import DataError

Label = int | str

SPARSE_HINT: Final = "; a svmlight file has as many as its highest index, unless n_features says it at its site"


@dataclass(frozen=True, slots=True)
class DataInfo:
    """Facts about one dataset, or about all of a run's together. None: not told.

    The first length of `input_shape` is that of the batch: it is never compared, and 0 where it is not known.
    """

    n_samples: int
    n_features: int | None = None
    input_shape: tuple[int, ...] | None = None
    classes: tuple[Label, ...] | None = None
    data_type: str | None = None

    def __post_init__(self) -> None:
        if self.n_samples < 0:
            raise DataError(f"n_samples is {self.n_samples}, and cannot be negative")
        if self.classes is not None and _kind(self.classes) == "mixed":
            raise DataError(f"classes {self.classes} mix numbers and text: make them all of one kind")


def combine(infos: Mapping[str, DataInfo]) -> DataInfo:
    """The data info of all clients together; the result does not depend on their order.

    `n_samples` is the sum, `classes` the sorted union, the rest must be equal. A field that some clients do not tell
    is taken from those who do, except `classes`: a union that may lack some is none. Raises `DataError` naming the
    field, the clients and their values.
    """
    if not infos:
        raise DataError("there are no clients whose data info could be combined")
    return DataInfo(
        n_samples=sum(info.n_samples for info in infos.values()),
        n_features=_agreed(infos, "n_features"),
        input_shape=_agreed(infos, "input_shape", _without_batch),
        classes=_union(infos),
        data_type=_agreed(infos, "data_type"),
    )


def fits(late: DataInfo, agreed: DataInfo) -> None:
    """Raise `DataError` unless a client that comes late has data like those the run agreed on.

    Its classes must be among the agreed ones, since the model has room for no other.
    """
    _agreed({"newcomer": late, "run": agreed}, "n_features")
    _agreed({"newcomer": late, "run": agreed}, "input_shape", _without_batch)
    _agreed({"newcomer": late, "run": agreed}, "data_type")
    if late.classes is None or agreed.classes is None:
        return
    strange = [label for label in late.classes if label not in agreed.classes]
    if strange:
        raise DataError(f"classes {strange} of the newcomer are not among the run's: {list(agreed.classes)}")


def _agreed(infos: Mapping[str, DataInfo], field: str, view: Callable[[Any], Any] = lambda value: value) -> Any:
    told = {client: view(getattr(infos[client], field)) for client in sorted(infos)}
    told = {client: value for client, value in told.items() if value is not None}
    if len(set(told.values())) > 1:
        values = ", ".join(f"{client} has {value}" for client, value in told.items())
        raise DataError(f"clients disagree on {field}: {values}{SPARSE_HINT if field == 'n_features' else ''}")
    return next(iter(told.values()), None)


def _without_batch(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None else (0, *shape[1:])


def _union(infos: Mapping[str, DataInfo]) -> tuple[Label, ...] | None:
    told = {client: infos[client].classes for client in sorted(infos)}
    kinds = {client: _kind(classes) for client, classes in told.items() if classes}
    if len(set(kinds.values())) > 1:
        values = ", ".join(f"{client} has {told[client]}" for client in kinds)
        raise DataError(f"clients disagree on the kind of their classes, numbers or text: {values}")
    if any(classes is None for classes in told.values()):
        return None
    return tuple(sorted({label for classes in told.values() for label in classes or ()}))


def _kind(classes: tuple[Label, ...]) -> str:
    kinds = {"text" if isinstance(label, str) else "numbers" for label in classes}
    return "mixed" if len(kinds) > 1 else next(iter(kinds), "none")
