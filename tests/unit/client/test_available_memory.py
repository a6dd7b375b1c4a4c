"""How much memory may be taken without a process being ended for it."""

from pathlib import Path

import psutil
import pytest

from fl.client.available import available_bytes

MIB = 2**20


def machine(root: Path, *, available_mb: int | None, group: str = "", **files: str) -> Path:
    """A system's files; those of groups by their folder's name, `top` for the outermost, and the file's."""
    if available_mb is not None:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available_mb * 1024} kB\n")
        (root / "proc/self/cgroup").write_text(f"0::/{group}\n")
    for name, text in files.items():
        folder, _, file = name.partition("_")
        path = root / "sys/fs/cgroup" / ("" if folder == "top" else folder) / f"memory.{file}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_tells_about_what_another_library_reads_of_it() -> None:
    found = available_bytes()
    assert found is not None
    assert 0 < found <= psutil.virtual_memory().total


def test_without_limits_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, available_mb=700)) == 700 * MIB


def test_a_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, available_mb=700, top_max="max\n", top_current="5\n")) == 700 * MIB


@pytest.mark.parametrize("limited", ["top", "site"], ids=["around its own", "its own"])
def test_the_limit_of_any_group_that_it_is_in_counts(tmp_path: Path, limited: str) -> None:
    files = {f"{limited}_max": f"{400 * MIB}\n", f"{limited}_current": f"{150 * MIB}\n"}

    assert available_bytes(machine(tmp_path, available_mb=700, group="site", **files)) == 250 * MIB


def test_pages_of_files_that_the_system_can_drop_are_available(tmp_path: Path) -> None:
    stat = f"anon 5\ninactive_file {100 * MIB}\nactive_file 7\n"
    files = {"top_max": f"{400 * MIB}\n", "top_current": f"{150 * MIB}\n", "top_stat": stat}

    assert available_bytes(machine(tmp_path, available_mb=700, **files)) == 350 * MIB


def test_a_group_beyond_its_limit_has_nothing_left(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, available_mb=700, top_max="5\n", top_current="9\n")) == 0


def test_a_system_that_tells_nothing_is_not_guessed_at(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
