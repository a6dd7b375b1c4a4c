"""Processes of a demonstration: watched, and gone when it is over."""

import asyncio
from pathlib import Path

import psutil
import pytest

from fl.cli.fleet import Fleet
from fl.errors import RunFailed

NOWHERE = "amqp://guest:guest@127.0.0.1:1/"
"""Nobody listens there, so that a worker tries for ever."""


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def test_a_process_that_ends_is_told_of_with_its_last_words_and_its_log(tmp_path: Path) -> None:
    # Given a daemon whose configuration is not there
    with Fleet(NOWHERE, tmp_path) as fleet:
        fleet.start("hungary", "client", tmp_path / "missing.toml")

        # When
        with pytest.raises(RunFailed) as failed:
            await asyncio.wait_for(fleet.watch(), 60)

    # Then
    assert "hungary ended before the run did: error: " in str(failed.value)
    assert "missing.toml: no such file" in str(failed.value)
    assert str(tmp_path / "hungary.log") in str(failed.value)


async def test_a_process_whose_role_another_has_too_may_end(tmp_path: Path) -> None:
    # Given two of one role, of which one ends at once
    with Fleet(NOWHERE, tmp_path) as fleet:
        fleet.start("worker-1", "server", role="worker")
        fleet.start("worker-2", "no-such-command", role="worker")
        fleet.start("other", "no-such-command", role="other")

        # When the only one of its role ends, just like it
        with pytest.raises(RunFailed) as failed:
            await asyncio.wait_for(fleet.watch(), 60)

    # Then it is that one that is missed
    assert str(failed.value).startswith("other ended")


def test_nothing_is_left_running(tmp_path: Path) -> None:
    # Given
    before = children()

    # When
    with pytest.raises(KeyboardInterrupt), Fleet(NOWHERE, tmp_path) as fleet:
        fleet.start("worker-1", "server")
        fleet.start("worker-2", "server")
        assert len(children() - before) >= 2
        raise KeyboardInterrupt

    # Then
    assert children() <= before


def test_the_log_of_an_earlier_process_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    # Given
    (tmp_path / "worker-1.log").write_text("long ago\n")

    # When
    with Fleet(NOWHERE, tmp_path) as fleet:
        fleet.start("worker-1", "server")

    # Then
    assert "long ago" not in (tmp_path / "worker-1.log").read_text()
