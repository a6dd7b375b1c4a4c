"""Faults for real: processes are killed one test after the other, so that no two compete for the machine's patience."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test below this folder; those with a real broker share one worker of pytest-xdist."""
    item.add_marker("faults")
    if item.get_closest_marker("rabbitmq"):
        item.add_marker(pytest.mark.xdist_group("faults"))
