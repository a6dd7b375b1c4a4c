"""Checkpoints: what is saved comes back, and what is half saved is not there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from fl.core import files
from fl.core.checkpoint import Checkpointer
from fl.core.files import read_vector
from fl.core.optimizer import Optimizer
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from fl.errors import ModelError


def weights(value: float = 1.0) -> NumpyVector:
    return NumpyVector.from_arrays(
        {"z": np.full((2, 2), value, "float32"), "a": np.full((), value, "float32"), "seen": np.array(3)}
    )


def test_weights_come_back_bit_for_bit_and_in_their_order(tmp_path: Path) -> None:
    Checkpointer(tmp_path / "new" / "folder").save(3, weights(0.1))
    checkpoint = Checkpointer(tmp_path / "new" / "folder").load(3)
    assert checkpoint.round == 3
    assert checkpoint.weights == weights(0.1)
    assert checkpoint.state is None


def test_an_optimizers_state_comes_back_with_its_weights(tmp_path: Path) -> None:
    optimizer = Optimizer(0.1, modules=["momentum"])
    optimizer.compute_updates(weights(), weights(0.5))
    Checkpointer(tmp_path).save(1, weights(), state=optimizer.get_state())
    again = Optimizer(0.1, modules=["momentum"])
    again.set_state(Checkpointer(tmp_path).load().state)
    assert again.get_state() == optimizer.get_state()


def test_latest_and_best_are_found_by_name(tmp_path: Path) -> None:
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, weights(1.0))
    checkpoints.save(2, weights(2.0), best=True)
    checkpoints.save(3, weights(3.0))
    assert checkpoints.load("latest").round == 3
    assert checkpoints.load("best").weights == weights(2.0)
    assert checkpoints.rounds() == [1, 2, 3]


def test_the_best_weights_are_a_file_other_programs_can_open(tmp_path: Path) -> None:
    Checkpointer(tmp_path).save(2, weights(2.0), best=True)
    tensors = safetensors.numpy.load_file(tmp_path / "best.safetensors")
    np.testing.assert_array_equal(tensors["z"], np.full((2, 2), 2.0))


def test_weights_of_another_program_can_be_read(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"b": np.ones(2), "a": np.zeros(1)}, tmp_path / "theirs.safetensors")
    vector, facts = read_vector(tmp_path / "theirs.safetensors")
    assert vector == NumpyVector.from_arrays({"a": np.zeros(1), "b": np.ones(2)})
    assert facts == {}


def test_a_folder_may_be_moved(tmp_path: Path) -> None:
    Checkpointer(tmp_path / "here").save(1, weights(), best=True)
    (tmp_path / "here").rename(tmp_path / "there")
    assert Checkpointer(tmp_path / "there").load("best").weights == weights()


def test_a_round_saved_again_replaces_what_was_there(tmp_path: Path) -> None:
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, weights(1.0), state={"steps": 1})
    checkpoints.save(1, weights(2.0))
    assert checkpoints.load(1).weights == weights(2.0)
    assert checkpoints.load(1).state is None


def test_a_crash_while_saving_leaves_the_older_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a checkpoint, and a disk that fails before the next is safe
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, weights(1.0))

    def full(_: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "flush", full)
    # When the same round is saved again
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(1, weights(2.0))
    # Then nothing has changed, and nothing lies about
    assert checkpoints.load().weights == weights(1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.safetensors", "weights-00001.safetensors"]


@pytest.mark.parametrize("which", [7, "latest", "best"])
def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path, which: int | str) -> None:
    with pytest.raises(ModelError, match=f"no checkpoint {which!r} in .*: rounds there are none"):
        Checkpointer(tmp_path).load(which)


def test_a_name_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give a round's number, 'latest' or 'best'"):
        Checkpointer(tmp_path).load("newest")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = Checkpointer(tmp_path).save(1, weights())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"weights-00001\.safetensors: not a file of weights"):
        Checkpointer(tmp_path).load(1)


def test_the_history_grows_by_lines_and_columns(tmp_path: Path) -> None:
    checkpoints = Checkpointer(tmp_path)
    checkpoints.append_history({"round": 1, "loss": 0.5})
    checkpoints.append_history({"round": 2, "loss": 0.25, "confusion": np.array([[1.0, 0.0], [0.0, 2.0]])})
    assert (tmp_path / "history.csv").read_text() == (
        'round,loss,confusion\n1,0.5,\n2,0.25,"[[1.0, 0.0], [0.0, 2.0]]"\n'
    )


def test_a_round_done_again_has_one_line(tmp_path: Path) -> None:
    checkpoints = Checkpointer(tmp_path)
    checkpoints.append_history({"round": 1, "loss": 0.5})
    checkpoints.append_history({"round": 1, "loss": 0.75})
    assert checkpoints.history() == [{"round": "1", "loss": "0.75"}]


STATES: list[Any] = [
    {},
    {"steps": 3, "rate": 0.1, "name": "x", "none": None, "flag": True, "list": [1, [2.5]]},
    {"velocity": weights(0.3), "deep": [["momentum", {"velocity": weights(0.7)}]]},
    {"single": weights(0.1), "double": weights(0.1).astype("float64"), "half": weights(0.1).astype("float16")},
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_a_state_travels_as_one_vector_bit_for_bit(state: Any) -> None:
    vector = pack_state(state)
    again = NumpyVector.unpack(vector.layout, bytes(vector.pack()))
    assert unpack_state(again) == state


def test_arrays_of_a_state_keep_shape_and_dtype() -> None:
    state = {"scalar": np.array(1.5), "ints": np.arange(3, dtype="int32"), "single": np.ones((1, 2), "float32")}
    again = unpack_state(pack_state(state))
    for name, array in state.items():
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array)
        assert again[name].shape == array.shape


def test_a_vector_that_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="is no state"):
        unpack_state(weights())


def test_a_value_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        pack_state({"when": object()})
