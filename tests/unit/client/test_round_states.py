"""What a site keeps of a run from round to round."""

import resource
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.client.disk import NoRoom
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


def test_a_round_before_one_that_was_kept_is_refused_and_takes_nothing_away(states: RoundStates) -> None:
    states.keep(3, state_of(3.0), counted=2)
    states.keep(4, state_of(4.0), counted=3)

    with pytest.raises(ModelError, match="round 3 is over: this site has trained in round 4 since"):
        states.keep(3, state_of(3.5), counted=2)

    assert [states.after(3), states.after(4)] == [state_of(3.0), state_of(4.0)]


@given(st.data())
def test_a_bit_that_has_changed_in_a_file_never_changes_the_state(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        StateFiles(Path(folder)).keep(4, state_of(4.0), counted=3)
        (file,) = Path(folder).iterdir()
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)

        try:
            found = StateFiles(Path(folder)).after(4)
        except ModelError as error:
            assert str(error).startswith(f"{file}: ")  # noqa: PT017  # most bits are refused, but not all matter
        else:
            assert found == state_of(4.0)


def test_a_value_that_has_changed_in_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    StateFiles(tmp_path).keep(4, state_of(4.0), counted=3)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[content.rindex(np.float32(4.0).tobytes())] ^= 1
    file.write_bytes(content)

    with pytest.raises(ModelError, match=f"^{file}: it does not hold the state .* this site takes no part in the run"):
        StateFiles(tmp_path).after(4)


@given(share=st.floats(0.0, 0.999))
def test_a_file_that_was_cut_short_is_refused_by_its_name(share: float) -> None:
    with TemporaryDirectory() as folder:
        StateFiles(Path(folder)).keep(4, state_of(4.0), counted=3)
        (file,) = Path(folder).iterdir()
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])

        with pytest.raises(ModelError, match=f"^{file}: .* this site takes no part in the run until it is back"):
            StateFiles(Path(folder)).after(4)


def test_a_state_that_stands_under_another_rounds_name_is_refused(tmp_path: Path) -> None:
    StateFiles(tmp_path).keep(4, state_of(4.0), counted=3)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "after-000005.safetensors")

    with pytest.raises(ModelError, match="it does not hold the state that was written"):
        StateFiles(tmp_path).after(5)


def test_a_draft_of_a_trainer_that_was_killed_counts_as_nothing_and_goes_with_the_next_state(tmp_path: Path) -> None:
    (tmp_path / ".after-000004.safetensors.0badcafe.tmp").write_bytes(b"half")
    assert StateFiles(tmp_path).after(4) is None

    StateFiles(tmp_path).keep(5, state_of(5.0), counted=4)

    assert [path.name for path in tmp_path.iterdir()] == ["after-000005.safetensors"]


def test_a_state_that_finds_no_room_is_an_error_that_names_its_file_and_leaves_none(tmp_path: Path) -> None:
    # Given a process that may write no file beyond 4 KiB
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    # When it keeps more
    try:
        with pytest.raises(NoRoom, match=r"after-000001\.safetensors cannot be written: .*File too large"):
            StateFiles(tmp_path).keep(1, {"velocity": np.zeros(10_000)}, counted=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # Then nothing half-written is left
    assert not list(tmp_path.iterdir())
