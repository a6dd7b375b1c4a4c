"""What may run side by side when the tests have several workers."""

import pytest

from tests.side_by_side import group_of, longest_first


def groups(*tests: str) -> int:
    return len({group_of(f"tests/{test}") for test in tests})


def test_faults_in_real_processes_run_one_after_the_other() -> None:
    assert groups("faults/test_kills.py::test_a[1]", "faults/test_broker_trouble.py::test_b") == 1


@pytest.mark.parametrize("file", ["contract/test_rabbitmq.py", "integration/test_wheel.py", "unit/core/test_vector.py"])
def test_tests_that_share_what_takes_long_to_make_run_one_after_the_other(file: str) -> None:
    assert groups(f"{file}::test_a[1]", f"{file}::test_a[2]", f"{file}::test_b") == 1


@pytest.mark.parametrize("file", ["integration/test_digits.py", "faults/test_chaos_runs.py"])
def test_any_other_test_runs_beside_those_of_its_file(file: str) -> None:
    assert groups(f"{file}::test_a[1]", f"{file}::test_a[2]", f"{file}::test_b") == 3


def test_faults_begin_before_anything_else_and_the_rest_keeps_its_order() -> None:
    tests = [f"tests/{test}" for test in ("unit/a.py::b", "faults/test_chaos_a.py::b", "contract/a.py::b")]
    faults = [f"tests/faults/test_{test}.py::a" for test in ("z", "y")]

    assert longest_first([tests[0], faults[0], *tests[1:], faults[1]], str) == [*faults, *tests]


def test_unit_tests_of_two_files_run_side_by_side() -> None:
    assert groups("unit/test_log.py::test_a", "unit/test_tasks.py::test_a") == 2
