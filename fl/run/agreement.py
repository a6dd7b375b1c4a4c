"""Whose data go together, among those that ask to take part."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from fl.core.data_info import DataInfo, combine, fits
from fl.errors import DataError
from fl.run.events import Note

TRAITS: Final[tuple[Callable[[DataInfo], Any], ...]] = (
    lambda info: info.n_features,
    lambda info: None if info.input_shape is None else info.input_shape[1:],
    lambda info: info.data_type,
    lambda info: type(info.classes[0]) if info.classes else None,
)
"""What is the same in all data that go together; None: not told."""


def in_agreement(joining: Mapping[str, DataInfo]) -> tuple[dict[str, DataInfo], tuple[Note, ...]]:
    """Those whose data go together, and why each other one is left out.

    Whoever differs from more than half of those that tell the same thing is left out. Where no such majority is,
    nobody can say who is wrong: raises `DataError` naming the clients and their values.
    """
    odd = {name for trait in TRAITS for name in _odd(joining, trait)}
    fitting = {name: info for name, info in sorted(joining.items()) if name not in odd}
    agreed = combine(fitting or joining)
    return fitting, tuple(Note(name, _misfit(joining[name], agreed)) for name in sorted(odd))


def _odd(joining: Mapping[str, DataInfo], trait: Callable[[DataInfo], Any]) -> list[str]:
    told = {name: trait(info) for name, info in joining.items() if trait(info) is not None}
    ((value, count),) = Counter(told.values()).most_common(1) or [(None, 0)]
    return [name for name, one in told.items() if one != value] if 2 * count > len(told) else []


def _misfit(info: DataInfo, agreed: DataInfo) -> str:
    try:
        fits(info, agreed)
    except DataError as error:
        return str(error)
    return f"its classes {list(info.classes or ())} are of another kind, numbers or text, than those of most clients"
