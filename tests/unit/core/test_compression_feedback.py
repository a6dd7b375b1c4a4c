"""Error feedback: what is left out of one update comes with the next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl.core.compression import Bfloat16, Compression, Feedback, Float16, Int8, TopK, Uncompressed
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from tests.unit.core.compression_vectors import network, normal, vector

LOSSY = [Bfloat16(), Float16(), Int8(), Int8(4), TopK(0.1)]

every = pytest.mark.parametrize("compression", LOSSY, ids=lambda one: f"{one.name}-{one.get_config()}")


def sent(feedback: Feedback, update: NumpyVector) -> NumpyVector:
    """What the receiver makes of one round's payload."""
    return feedback.compression.decode(update.layout, feedback.compress(update))


@every
@settings(max_examples=40, deadline=None)  # on machines that may be busy
@given(updates=hnp.arrays("float64", st.tuples(st.integers(1, 8), st.just(12)), elements=st.floats(-1e3, 1e3)))
def test_what_was_sent_adds_up_to_the_updates_less_the_last_residual(
    compression: Compression, updates: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
) -> None:
    # Given a few rounds
    feedback = Feedback(compression)
    # When each update is sent
    total = sum(sent(feedback, vector(update, "float64")).flat for update in updates)
    # Then nothing is lost
    assert feedback.residual is not None
    np.testing.assert_allclose(total, updates.sum(axis=0) - feedback.residual.flat, rtol=1e-12, atol=1e-9)


@every
def test_the_residual_is_what_the_first_payload_left_out(compression: Compression) -> None:
    feedback, update = Feedback(compression), normal(1000)

    decoded = sent(feedback, update)

    assert feedback.residual == update - decoded


@every
def test_a_residual_that_is_added_goes_out_in_later_rounds(compression: Compression) -> None:
    # Given one update, and then rounds in which nothing changes
    feedback, update = Feedback(compression), normal(100)
    nothing = update * 0.0
    # When a few more rounds have gone by
    total = sent(feedback, update)
    for _ in range(9):
        total += sent(feedback, nothing)
    # Then all of the update has arrived
    np.testing.assert_allclose(total.flat, update.flat, atol=1e-7)


@every
def test_the_same_round_from_the_same_state_gives_the_same_bits(compression: Compression) -> None:
    # Given the state after a round, stored and read again
    first = Feedback(compression)
    first.compress(network())
    stored = pack_state(first.get_state())
    update = network() * 0.3
    # When a crash makes another process do the next round over
    second = Feedback(compression)
    second.set_state(unpack_state(stored))
    # Then payload and residual are the same
    assert first.compress(update) == second.compress(update)
    assert first.residual == second.residual


@every
def test_a_state_is_not_changed_by_later_rounds(compression: Compression) -> None:
    feedback = Feedback(compression)
    feedback.compress(normal(100))
    state = feedback.get_state()
    before = state["residual"].copy()

    feedback.compress(normal(100, seed=1))

    assert state["residual"] == before


def test_a_state_from_before_the_first_round_has_no_residual() -> None:
    feedback = Feedback(Int8())
    feedback.compress(normal(3))

    feedback.set_state(unpack_state(pack_state(Feedback(Int8()).get_state())))

    assert feedback.residual is None


@every
def test_an_update_is_left_as_it_is(compression: Compression) -> None:
    update = network()
    before = update.copy()
    feedback = Feedback(compression)

    for _ in range(2):
        feedback.compress(update)

    assert update == before


@every
def test_statistics_and_integers_have_no_residual(compression: Compression) -> None:
    feedback, update = Feedback(compression), network()

    for _ in range(3):
        decoded = sent(feedback, update).arrays()

    for name in ("variance", "mask", "seen"):
        np.testing.assert_array_equal(decoded[name], update.arrays()[name])


def test_what_fp16_cannot_hold_is_sent_over_several_rounds() -> None:
    feedback, update = Feedback(Float16()), vector([200_000.0])

    arrived = [sent(feedback, update).flat[0]] + [sent(feedback, vector([0.0])).flat[0] for _ in range(3)]

    assert arrived == [65504, 65504, 65504, 200_000 - 3 * 65504]


def test_without_loss_nothing_is_kept() -> None:
    feedback, update = Feedback(Uncompressed()), normal(10)

    assert feedback.compress(update) == update.pack()
    assert feedback.residual is None


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_refused_and_leaves_the_residual_alone(
    compression: Compression, bad: float
) -> None:
    feedback = Feedback(compression)
    feedback.compress(normal(2))
    before = feedback.residual

    with pytest.raises(ValueError, match="tensor 'w' has values that are NaN or infinite"):
        feedback.compress(vector([1, bad]))

    assert feedback.residual is before


def test_an_update_of_another_layout_is_refused() -> None:
    feedback = Feedback(Int8())
    feedback.compress(normal(2))

    with pytest.raises(ValueError, match="tensor 'w' differs"):
        feedback.compress(normal(3))


@pytest.mark.parametrize("state", [{}, {"residual": 1.0}, {"residual": None, "more": 1}])
def test_the_state_of_something_else_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="this is no state of error feedback"):
        Feedback(Int8()).set_state(state)
