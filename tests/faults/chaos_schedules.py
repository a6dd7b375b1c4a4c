"""Schedules for hypothesis to draw: a failing one shrinks to the few faults that it takes, and is printed."""

from collections.abc import Collection, Mapping
from typing import Final

from hypothesis import strategies as st

from broker.chaos import Fault, Strike

LONGER: Final = 1.3
"""A disturbed run offers more chances than an undisturbed one."""
AT_LEAST: Final = 20
"""Chances for what an undisturbed run offers few."""
WAYS: Final = 64
"""Numbers that say whom a fault meets and how long it takes: more than there are sessions times delays."""


def strikes(chances: Mapping[Fault, int], fault: Fault) -> st.SearchStrategy[Strike]:
    """One fault, at any chance there may be for it."""
    last = max(int(chances.get(fault, 0) * LONGER), AT_LEAST)
    return st.builds(Strike, st.just(fault), st.integers(0, last), st.integers(0, WAYS - 1))


def schedules(
    chances: Mapping[Fault, int], faults: Collection[Fault] = tuple(Fault), *, most: int = 12
) -> st.SearchStrategy[list[Strike]]:
    """Up to so many faults. A run in which all sessions are lost over and over is as good as none."""
    return st.lists(
        st.sampled_from(list(faults)).flatmap(lambda fault: strikes(chances, fault)),
        max_size=most,
        unique_by=lambda strike: (strike.fault.value, strike.at),
    )
