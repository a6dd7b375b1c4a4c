"""What a site keeps of a run from round to round."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fl.client.round_states import RecalledStates, RoundStates, StateFiles
from fl.core.vector import NumpyVector
from fl.errors import ModelError

Maker = Callable[[Path], RoundStates]


def state_of(value: float) -> dict[str, object]:
    return {"steps": int(value), "velocity": NumpyVector.from_arrays({"w": np.full(3, value, np.float32)})}


@pytest.fixture(params=[lambda _: RecalledStates(), StateFiles], ids=["memory", "files"])
def states(request: pytest.FixtureRequest, tmp_path: Path) -> RoundStates:
    make: Maker = request.param
    return make(tmp_path)


def test_the_state_after_a_round_is_what_was_kept(states: RoundStates) -> None:
    states.keep(1, state_of(1.0), counted=0)

    assert states.after(1) == state_of(1.0)


def test_of_a_round_that_was_never_kept_there_is_none(states: RoundStates) -> None:
    assert states.after(3) is None


def test_a_round_can_be_done_again_from_where_it_began(states: RoundStates) -> None:
    states.keep(1, state_of(1.0), counted=0)
    states.keep(2, state_of(2.0), counted=1)

    states.keep(2, state_of(2.5), counted=1)

    assert states.after(1) == state_of(1.0)
    assert states.after(2) == state_of(2.5)


def test_a_round_that_did_not_count_is_forgotten_once_another_is_kept(states: RoundStates) -> None:
    states.keep(1, state_of(1.0), counted=0)
    states.keep(2, state_of(2.0), counted=1)

    states.keep(5, state_of(5.0), counted=1)

    assert states.after(2) is None
    assert [states.after(1), states.after(5)] == [state_of(1.0), state_of(5.0)]


def test_files_are_there_for_the_next_process(tmp_path: Path) -> None:
    StateFiles(tmp_path).keep(4, state_of(4.0), counted=3)

    assert StateFiles(tmp_path).after(4) == state_of(4.0)


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    StateFiles(tmp_path).keep(4, state_of(4.0), counted=3)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])

    with pytest.raises(ModelError, match=file.name):
        StateFiles(tmp_path).after(4)
