"""Memory of a daemon and its trainer: spans do not overlap, both sides see them, and nothing is left of it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.client.limits import resident_bytes
from fl.client.memory import Memory, NoMemory, OwnMemory
from fl.client.shared_memory import SharedMemory
from fl.errors import BadMessage
from fl.wire.trainer_pb2 import Span
from tests.scarcity import no_file_above

MIB = 2**20
KINDS: dict[str, Callable[[], Memory]] = {"shared": SharedMemory.create, "own": OwnMemory}


@pytest.fixture(params=KINDS)
def memory(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = KINDS[request.param]()
    yield made
    made.close()


@pytest.fixture
def shared() -> Iterator[SharedMemory]:
    made = SharedMemory.create()
    yield made
    made.close()


@contextmanager
def other_side(memory: SharedMemory) -> Iterator[SharedMemory]:
    """The same memory as another process has it: mapped anew."""
    other = SharedMemory(os.dup(memory.fd))
    yield other
    other.close()


# ---- what any memory promises --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.integers(0, 20_000), max_size=12))
def test_what_is_written_into_one_span_changes_no_other(kind: str, sizes: list[int]) -> None:
    # Given
    memory = KINDS[kind]()
    # When each is written as soon as it is reserved, which makes the memory grow
    spans = [memory.reserve(size) for size in sizes]
    for number, span in enumerate(spans):
        memory.view(span)[:] = bytes([number]) * span.size
    # Then
    assert [bytes(memory.view(span)) for span in spans] == [bytes([i]) * size for i, size in enumerate(sizes)]
    memory.close()


def test_a_view_stays_what_it_is_when_the_memory_grows(memory: Memory) -> None:
    # Given
    view = memory.view(memory.reserve(8))
    view[:] = b"carrots!"
    # When
    grown = memory.reserve(4 * MIB)
    memory.view(grown)[:] = b"x" * grown.size
    # Then
    assert bytes(view) == b"carrots!"


def test_what_is_kept_is_there_while_more_is_reserved(memory: Memory) -> None:
    # Given
    forgotten, kept = memory.reserve(5_000), memory.reserve(5_000)
    memory.view(kept)[:] = b"k" * 5_000
    # When
    memory.keep([kept])
    behind = memory.reserve(9_000)
    memory.view(behind)[:] = b"b" * 9_000
    # Then
    assert bytes(memory.view(kept)) == b"k" * 5_000
    assert forgotten.start != behind.start


def test_memory_that_was_given_back_can_be_used_again(memory: Memory) -> None:
    # Given
    memory.view(memory.reserve(MIB))[:] = b"x" * MIB
    memory.keep()
    # When
    memory.give_back()
    span = memory.reserve(2 * MIB)
    memory.view(span)[:] = b"y" * span.size
    # Then
    assert bytes(memory.view(span)) == b"y" * span.size


@pytest.mark.parametrize("span", [Span(start=0, size=4097), Span(start=1 << 40, size=1), Span(start=5000, size=1)])
def test_bytes_that_were_never_reserved_are_refused(memory: Memory, span: Span) -> None:
    memory.reserve(4096)

    with pytest.raises(BadMessage, match=f"{span.size} bytes at {span.start} are not in the memory"):
        memory.view(span)


def test_a_span_is_as_good_an_array_as_any(memory: Memory) -> None:
    memory.reserve(3)
    array = np.frombuffer(memory.view(memory.reserve(80)), "<f8")

    array[:] = 0.5
    assert array.flags.writeable
    assert array.flags.aligned
    assert array.sum() == 5.0


# ---- of two processes ----------------------------------------------------------------------------------------------


def test_each_side_sees_what_the_other_writes(shared: SharedMemory) -> None:
    with other_side(shared) as other:
        # When one side writes
        there = shared.reserve(5_000)
        shared.view(there)[:] = b"w" * 5_000
        # Then the other sees it, and answers behind it
        other.keep([there])
        assert bytes(other.view(there)) == b"w" * 5_000
        back = other.reserve(3 * MIB)
        other.view(back)[:] = b"u" * back.size
        # and the first sees that, though it did not make the memory grow itself
        assert bytes(shared.view(back)) == b"u" * back.size
        assert bytes(shared.view(there)) == b"w" * 5_000


def test_the_same_pages_serve_call_after_call(shared: SharedMemory) -> None:
    # Given
    for _ in range(5):
        shared.keep()
        span = shared.reserve(3 * MIB)
        shared.view(span)[:] = b"x" * span.size
    # Then
    assert span.start == 0
    assert os.fstat(shared.fd).st_size == 3 * MIB


def test_what_is_given_back_is_the_systems(shared: SharedMemory) -> None:
    # Given
    shared.view(shared.reserve(8 * MIB))[:] = b"x" * (8 * MIB)
    assert os.fstat(shared.fd).st_blocks * 512 == 8 * MIB
    # When
    shared.give_back()
    # Then
    assert os.fstat(shared.fd).st_blocks == 0


def test_it_has_no_name_that_could_be_left_behind(shared: SharedMemory) -> None:
    shared.reserve(MIB)

    assert os.fstat(shared.fd).st_nlink == 0
    assert Path(f"/proc/self/fd/{shared.fd}").readlink().name.endswith("(deleted)")


def test_nobody_can_take_pages_away_from_under_a_reader(shared: SharedMemory) -> None:
    shared.reserve(MIB)

    with pytest.raises(PermissionError):
        os.ftruncate(shared.fd, 0)


def test_two_memories_have_nothing_in_common(shared: SharedMemory) -> None:
    # Given
    other = SharedMemory.create()
    mine, theirs = shared.view(shared.reserve(8)), other.view(other.reserve(8))
    # When
    mine[:], theirs[:] = b"a" * 8, b"b" * 8
    # Then
    assert bytes(mine) == b"a" * 8
    other.close()


def test_a_view_outlives_the_memorys_end(shared: SharedMemory) -> None:
    view = shared.view(shared.reserve(8))
    view[:] = b"carrots!"

    shared.close()
    shared.close()
    assert bytes(view) == b"carrots!"


def test_where_the_system_gives_no_more_people_are_told_so(shared: SharedMemory) -> None:
    with (
        no_file_above(MIB),
        pytest.raises(NoMemory, match=r"no memory for 2 MiB of tensors: the system gives no more \(File too large\)"),
    ):
        shared.reserve(2 * MIB)


def test_more_than_the_machine_has_is_refused_before_the_system_ends_somebody_for_it(shared: SharedMemory) -> None:
    with pytest.raises(NoMemory, match=r"no memory for \d+ MiB of tensors: \d+ MiB are available here"):
        shared.reserve(1 << 60)


def test_what_the_other_side_has_taken_is_not_asked_of_the_system_again(
    shared: SharedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine with room for one span, and another
    span = shared.reserve(2 * MIB)
    monkeypatch.setattr("fl.client.shared_memory.available_bytes", lambda: 3 * MIB)
    with other_side(shared) as other:
        # When the other side, which has taken none of them, answers behind the first
        other.keep([span])
        behind = other.reserve(2 * MIB)
        # Then
        assert behind.start == 2 * MIB
        with pytest.raises(NoMemory, match="no memory for 4 MiB of tensors: 3 MiB are available here"):
            other.reserve(4 * MIB)


def test_after_a_refusal_smaller_spans_are_given(shared: SharedMemory) -> None:
    with no_file_above(MIB), pytest.raises(NoMemory):
        shared.reserve(2 * MIB)

    span = shared.reserve(MIB)
    shared.view(span)[:] = b"x" * MIB
    assert span.start == 0


def test_what_a_trainer_forks_does_not_count_their_memory_again() -> None:
    # Given a process with 128 MiB of such memory, and its child
    hold = (
        "import os, signal; from fl.client.shared_memory import SharedMemory; memory = SharedMemory.create();"
        "view = memory.view(memory.reserve(128 << 20)); view[:] = b'x' * len(view);"
        "child = os.fork() or signal.pause(); print(child, flush=True); input(); os.kill(child, signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        # When
        together, of_child = resident_bytes(process.pid), resident_bytes(child)
        process.communicate(b"\n")
    # Then
    assert together >= of_child + 128 * MIB
    assert 0 < of_child < 128 * MIB


# ---- of other systems ----------------------------------------------------------------------------------------------


def test_without_memory_files_a_temporary_one_serves_that_has_no_name_either(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.delattr(os, "memfd_create")
    memory = SharedMemory.create()
    with other_side(memory) as other:
        # When
        span = memory.reserve(MIB)
        memory.view(span)[:] = b"x" * MIB
        # Then
        assert bytes(other.view(span)) == b"x" * MIB
        assert os.fstat(memory.fd).st_nlink == 0
    memory.close()


def test_spans_may_lie_beyond_what_31_and_32_bits_count(shared: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a system that promises pages without giving them: six GiB cost nothing
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr("fl.client.shared_memory.available_bytes", lambda: None)
    first, second = shared.reserve((1 << 31) + 8), shared.reserve((1 << 32) + 8)
    # When
    shared.view(first)[-8:] = b"carrots!"
    shared.view(second)[-8:] = b"radishes"
    # Then
    with other_side(shared) as other:
        assert bytes(other.view(first)[-8:]) == b"carrots!"
        assert bytes(other.view(second)[-8:]) == b"radishes"
