"""`fluffle demo`, as a person runs it."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from fl.cli.demo import run_demo
from fl.core.checkpoint import Checkpointer
from fl.core.vector import NumpyVector
from fl.errors import ConfigError

ROUNDS = 3


def demonstrate(out: Path, *, broker: bool = False, seed: int = 0, rounds: int = ROUNDS) -> str:
    """Run it, and return what it says."""
    console = Console(file=io.StringIO(), width=100)
    run_demo(broker=broker, out=out, seed=seed, rounds=rounds, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def best_weights(out: Path) -> NumpyVector:
    return Checkpointer(out).load("best").weights


@dataclass(frozen=True, slots=True)
class OverRabbitMQ:
    """What a demonstration with processes left: its folder, and processes that were not there before it."""

    out: Path
    left: frozenset[int]


@pytest.fixture(scope="module")
def over_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> OverRabbitMQ:
    out, before = tmp_path_factory.mktemp("processes"), pids_below(psutil.Process())
    demonstrate(out, broker=True)
    return OverRabbitMQ(out, pids_below(psutil.Process()) - before)


def pids_below(process: psutil.Process) -> frozenset[int]:
    return frozenset(child.pid for child in process.children(recursive=True))


@contextmanager
def endless_demonstration(out: Path) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, until the block ends; entered once its run has begun."""
    command = [sys.executable, "-m", "fl.cli", "demo", "--broker", "--out", str(out), "--rounds", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("round 1 of" in line for line in process.stdout)
            yield process
        finally:
            process.kill()


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: one that has ended may wait for ever for a parent that takes no notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.rabbitmq
def test_weights_are_the_same_bits_over_rabbitmq_as_in_one_process(over_rabbitmq: OverRabbitMQ, tmp_path: Path) -> None:
    # When
    demonstrate(tmp_path)

    # Then
    assert bytes(best_weights(tmp_path).pack()) == bytes(best_weights(over_rabbitmq.out).pack())


@pytest.mark.rabbitmq
def test_no_process_is_left_when_it_is_over(over_rabbitmq: OverRabbitMQ) -> None:
    assert not over_rabbitmq.left


@pytest.mark.rabbitmq
def test_every_process_writes_its_log_down_to_its_end(over_rabbitmq: OverRabbitMQ) -> None:
    logs = {log.stem: log.read_text() for log in (over_rabbitmq.out / "logs").iterdir()}
    assert set(logs) == {"worker-1", "worker-2", "cleveland", "hungary", "switzerland", "va-long-beach"}
    assert all("by=SIGTERM" in text for text in logs.values())


@pytest.mark.rabbitmq
def test_ctrl_c_ends_every_process_and_prints_no_traceback(tmp_path: Path) -> None:
    # Given a demonstration that goes on
    with endless_demonstration(tmp_path) as process:
        started = psutil.Process(process.pid).children(recursive=True)

        # When
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    # Then
    assert (process.returncode, errors) == (130, "")
    assert len(started) > 6
    assert not any(map(is_alive, started))


@pytest.mark.rabbitmq
def test_the_death_of_a_daemon_is_one_line_that_names_its_log(tmp_path: Path) -> None:
    # Given a demonstration that goes on, and the daemon of one hospital
    with endless_demonstration(tmp_path) as process:
        started = psutil.Process(process.pid).children(recursive=True)
        daemons = [child for child in started if is_daemon(child, "hungary")]

        # When it is killed
        for daemon in daemons:
            daemon.kill()
        _, errors = process.communicate(timeout=60)

    # Then
    assert len(daemons) == 1
    assert process.returncode == 1
    assert errors.startswith("error: hungary ended before the run did: ")
    assert errors.endswith(f"(all of its log: {tmp_path / 'logs' / 'hungary.log'})\n")
    assert len(errors.splitlines()) == 1
    assert not any(map(is_alive, started))


def is_daemon(process: psutil.Process, name: str) -> bool:
    """Whether this is the daemon itself, and neither its guard nor its trainer."""
    command = process.cmdline()
    return command[:3] == [sys.executable, "-m", "fl.cli"] and command[-1].endswith(f"{name}/client.toml")


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    # When
    demonstrate(tmp_path / "0", seed=0)
    demonstrate(tmp_path / "1", seed=1)

    # Then
    assert bytes(best_weights(tmp_path / "0").pack()) != bytes(best_weights(tmp_path / "1").pack())


def test_it_tells_who_collected_the_data_how_the_models_compare_and_what_was_written(tmp_path: Path) -> None:
    # When
    said = demonstrate(tmp_path)

    # Then
    for investigator in ("Andras Janosi", "William Steinbrunn", "Matthias Pfisterer", "Robert Detrano"):
        assert investigator in " ".join(said.split())
    for place in ("Cleveland", "Hungary", "Switzerland", "VA Long Beach"):
        assert f"\n{place} " in said
    for file in ("history.csv", "curves.png"):
        assert f"wrote {tmp_path / file}" in said
        assert (tmp_path / file).is_file()


def test_quickrun_of_what_it_wrote_gives_the_same_weights(tmp_path: Path) -> None:
    # Given
    demonstrate(tmp_path / "demo", seed=5)

    # When
    run = tmp_path / "demo" / "heart" / "run.toml"
    subprocess.run([sys.executable, "-m", "fl.cli", "quickrun", run, "--out", tmp_path / "again"], check=True)

    # Then
    assert bytes(best_weights(tmp_path / "demo").pack()) == bytes(best_weights(tmp_path / "again").pack())


def test_the_history_of_an_earlier_run_is_not_mixed_with_this_ones(tmp_path: Path) -> None:
    # Given
    demonstrate(tmp_path, rounds=4)

    # When
    demonstrate(tmp_path, rounds=2)

    # Then
    assert [row["round"] for row in Checkpointer(tmp_path).history()] == ["1", "2"]


def test_a_seed_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seed -1"):
        demonstrate(tmp_path, seed=-1)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    # Given a file where the folder should be
    (tmp_path / "taken").write_text("")

    # When
    done = subprocess.run(
        [sys.executable, "-m", "fl.cli", "demo", "--out", tmp_path / "taken"],
        capture_output=True,
        text=True,
        check=False,
    )

    # Then
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: cannot write to {tmp_path / 'taken'}: Not a directory; choose another folder with --out"
    ]
