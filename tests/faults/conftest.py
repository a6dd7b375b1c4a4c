"""Faults for real. `tests/side_by_side.py` keeps those that kill processes from running beside each other."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test below this folder, and no other."""
    item.add_marker("faults")
