"""Early stopping, value by value."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.core.early_stopping import EarlyStopping
from fl.errors import ConfigError

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "options", "stops"),
    [
        ([3.0, 2.0, 1.0], {}, [False, False, False]),
        ([3.0, 3.0], {}, [False, True]),
        ([3.0, 2.5], {"tolerance": 0.5}, [False, True]),
        ([3.0, 2.4], {"tolerance": 0.5}, [False, False]),
        ([3.0, 4.0, 3.5, 2.0], {"patience": 2}, [False, False, True, False]),
        ([3.0, 4.0, 2.0, 3.0, 1.0], {"patience": 2}, [False] * 5),
        ([3.0, NAN], {}, [False, True]),
        ([NAN, 3.0, 2.0], {"patience": 2}, [False, False, False]),
        ([INF, 3.0, 2.0], {"patience": 2, "relative": True}, [False, False, False]),
        ([0.5, 0.6, 0.6], {"decrease": False}, [False, False, True]),
        ([10.0, 9.5], {"tolerance": 0.1, "relative": True}, [False, True]),
        ([10.0, 8.5], {"tolerance": 0.1, "relative": True}, [False, False]),
        ([-10.0, -10.5], {"tolerance": 0.1, "relative": True}, [False, True]),
        ([0.0, -0.1], {"tolerance": 0.1, "relative": True}, [False, False]),
        ([3.0, 2.8, 2.6, 2.4], {"tolerance": 0.3, "patience": 3}, [False, False, False, True]),
    ],
)
def test_stopping_follows_the_values(losses: list[float], options: dict[str, Any], stops: list[bool]) -> None:
    stopper = EarlyStopping(**options)
    assert [stopper.update(loss) for loss in losses] == stops


@given(st.lists(st.floats(-10, 10) | st.just(NAN), max_size=8), st.integers(1, 3), st.floats(0, 1))
def test_asking_of_a_history_is_asking_after_each_value(losses: list[float], patience: int, tolerance: float) -> None:
    stopper = EarlyStopping(tolerance, patience)
    stops = [stopper.update(loss) for loss in losses]
    fresh = EarlyStopping(tolerance, patience)
    assert fresh.should_stop(losses) == any(stops)
    assert fresh.should_stop(losses) == any(stops)


@pytest.mark.parametrize("options", [{"patience": 0}, {"tolerance": NAN}])
def test_what_could_never_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="early stopping"):
        EarlyStopping(**options)
