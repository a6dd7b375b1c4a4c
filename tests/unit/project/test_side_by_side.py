"""What may run side by side when the tests have several workers."""

import pytest

from tests.side_by_side import group_of


def test_faults_in_real_processes_run_one_after_the_other() -> None:
    groups = {group_of(f"tests/faults/{test}") for test in ("test_kills.py::test_a[1]", "test_soak.py::test_b")}
    assert len(groups) == 1


@pytest.mark.parametrize(
    "file", ["unit/test_log.py", "integration/test_digits.py", "faults/test_chaos_runs.py", "contract/test_blocking.py"]
)
def test_other_tests_of_one_file_run_side_by_side(file: str) -> None:
    assert group_of(f"tests/{file}::test_a[1]") != group_of(f"tests/{file}::test_a[2]")


def test_a_file_with_a_costly_fixture_starts_it_once() -> None:
    file = "tests/integration/test_wheel.py"
    assert group_of(f"{file}::test_a[1]") == group_of(f"{file}::test_b")
