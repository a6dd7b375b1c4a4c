"""Brokers for whole runs: one of each kind, empty at the start of each test."""

import secrets
from collections.abc import Iterator

import pytest

from broker.local import LocalRabbit


@pytest.fixture
def rabbit_url(rabbit: LocalRabbit, vhosts: Iterator[str]) -> str:
    """A virtual host of the real broker that no other test has seen; it goes with its node."""
    return f"{rabbit.url}{next(vhosts)}"


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this process."""
    return f"memory://{secrets.token_hex(4)}"


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn."""
    url: str = request.getfixturevalue(f"{request.param.removesuffix('mq')}_url")
    return url
