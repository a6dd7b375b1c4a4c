"""Curves in text: a Braille character is 2 x 4 dots."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fl.core.vector import Array

BLANK: Final = 0x2800
BITS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""What each dot of a character adds to its code point, by row and column (Unicode, "Braille Patterns")."""


def curve(points: Sequence[tuple[float, float]], *, end: float, width: int, height: int) -> list[str]:
    """A line through points (x, y) with rising x, as `height` rows of `width` characters.

    The first point is at the left edge and `end` would be at the right one; the y of the points fill the height.
    """
    x, y = np.array(points, np.float64).T
    columns = np.linspace(x[0], max(end, x[-1]), 2 * width)
    columns = columns[columns <= x[-1]]
    spread = float(np.ptp(y)) or 1.0
    rows = np.rint((y.max() - np.interp(columns, x, y)) / spread * (4 * height - 1)).astype(int)
    dots = np.zeros((4 * height, 2 * width), bool)
    for column, row in enumerate(rows):
        before = rows[max(column - 1, 0)]
        # a steep line goes on from where the column before it ended, and does not leave it twice
        first, last = sorted((row, before + np.sign(row - before)))
        dots[first : last + 1, column] = True
    return _characters(dots, height)


def _characters(dots: Array, height: int) -> list[str]:
    cells = dots.reshape(height, 4, -1, 2)
    codes = BLANK + np.einsum("hrwc,rc->hw", cells, BITS)
    return ["".join(map(chr, row)) for row in codes.tolist()]
