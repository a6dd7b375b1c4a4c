"""Curves in text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl.cli.braille import BLANK, curve
from fl.core.vector import Array

WIDTH, HEIGHT = 12, 4
finite = st.floats(-1e6, 1e6)


def dots(rows: list[str]) -> Array:
    """Dots of the drawing, of shape (4·height, 2·width), by the names of the dots in Unicode's own numbering."""
    places = {1: (0, 0), 2: (1, 0), 3: (2, 0), 4: (0, 1), 5: (1, 1), 6: (2, 1), 7: (3, 0), 8: (3, 1)}
    found = np.zeros((4 * len(rows), 2 * len(rows[0])), bool)
    for top, row in enumerate(rows):
        for left, character in enumerate(row):
            for number, (down, right) in places.items():
                found[4 * top + down, 2 * left + right] = bool((ord(character) - BLANK) >> (number - 1) & 1)
    return found


def test_a_falling_line_goes_from_the_upper_left_to_the_lower_right() -> None:
    # When
    drawn = dots(curve([(1, 8.0), (2, 0.0)], end=2, width=2, height=1))

    # Then
    assert drawn.astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_what_is_yet_to_come_is_left_blank() -> None:
    # Given a curve that has come half its way
    drawn = dots(curve([(0, 1.0), (5, 0.0)], end=10, width=10, height=2))

    # Then
    assert drawn[:, :10].any(axis=0).all()
    assert not drawn[:, 11:].any()


@given(st.lists(finite, min_size=2, max_size=60))
def test_a_curve_fills_its_height_and_has_no_gaps(values: list[float]) -> None:
    # When
    drawn = dots(curve(list(enumerate(values)), end=len(values) - 1, width=WIDTH, height=HEIGHT))

    # Then every column has dots, without a hole between them, and those of neighbours touch
    for column, following in zip(drawn.T, drawn.T[1:], strict=False):
        ours, theirs = np.flatnonzero(column), np.flatnonzero(following)
        assert len(ours) == np.ptp(ours) + 1
        assert theirs.min() <= ours.max() + 1
        assert ours.min() <= theirs.max() + 1


@given(st.lists(finite, min_size=2, max_size=2 * WIDTH, unique=True))
def test_the_highest_and_the_lowest_value_at_the_ends_are_at_the_edges(values: list[float]) -> None:
    # Given a curve whose extremes are its ends
    values = sorted(values)

    # When
    drawn = dots(curve(list(enumerate(values)), end=len(values) - 1, width=WIDTH, height=HEIGHT))

    # Then
    assert drawn[-1, 0]
    assert drawn[0, -1]


def test_a_constant_is_a_straight_line() -> None:
    drawn = dots(curve([(0, 3.0), (9, 3.0)], end=9, width=WIDTH, height=HEIGHT))
    assert drawn.sum() == 2 * WIDTH
    assert (drawn.sum(axis=1) > 0).sum() == 1
