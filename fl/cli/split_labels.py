"""What is counted in shares: labels as they are, or bins of a regression's target."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fl.core.dataset import split
from fl.core.vector import Array
from fl.errors import ConfigError

MOST_CLASSES: Final = 50
"""Numbers with more different values than this are taken for those of a regression."""
BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Labels:
    """One label a sample, as its place in `names`, in order."""

    codes: Array
    names: tuple[str, ...]
    are_classes: bool
    """False for bins, and for numbers that are not whole."""


def labels_of(target: Array, bins: int | None) -> Labels:
    """Labels of a target: bins for numbers that are no classes, where `bins` does not say otherwise; 0 is never.

    Raises `ConfigError` for bins of text.
    """
    values, codes = np.unique(target, return_inverse=True)
    is_text = target.dtype.kind == "U"
    if bins and is_text:
        raise ConfigError(f"--bins {bins}: the target is text, such as {str(values[0])!r}, which has no quantiles")
    are_classes = is_text or bool((values == np.round(values)).all())
    if bins == 0 or (bins is None and are_classes and (is_text or len(values) <= MOST_CLASSES)):
        names = (f"{value:g}" if value.dtype.kind == "f" else str(value) for value in values)
        return Labels(codes, tuple(names), are_classes)
    codes = split.quantile_bins(target, BINS if bins is None else bins)
    parts = [target[codes == code] for code in range(int(codes.max()) + 1)]
    return Labels(codes, tuple(f"{part.min():g} to {part.max():g}" for part in parts), False)
