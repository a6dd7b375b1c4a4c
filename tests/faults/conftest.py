"""Faults for real. `tests/side_by_side.py` keeps those that kill processes from running beside each other."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from broker.local import LocalRabbit
from tests.faults.campaign import Scene, Told, undisturbed
from tests.faults.stage import make_run
from tests.faults.troupe import Troupe, troupe


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test below this folder, and no other."""
    item.add_marker("faults")


@pytest.fixture(scope="session")
def players() -> Iterator[Troupe]:
    """Who plays victims; all are gone at the end."""
    with troupe() as made:
        yield made


@pytest.fixture(scope="module")
def scene(rabbit: LocalRabbit, vhosts: Iterator[str], players: Troupe) -> Scene:
    """A virtual host that the campaigns of one file share, one after the other."""
    return Scene(rabbit, f"{rabbit.url}{next(vhosts)}", players)


@pytest.fixture(scope="session")
def calm() -> Told:
    """What the campaigns' run comes to where nothing happens."""
    return asyncio.run(undisturbed(f"memory://{secrets.token_hex(4)}", make_run()))
