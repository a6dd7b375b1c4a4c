"""Every test here that asks for a `backend` runs on each of them."""

import secrets
from collections.abc import AsyncIterator

import pytest

from broker.base import Session
from tests.contract.backends import Backend, MemoryBackend, RabbitBackend


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    backend = MemoryBackend() if request.param == "memory" else RabbitBackend(request.getfixturevalue("rabbit"))
    yield backend
    await backend.stop()


@pytest.fixture
async def session(backend: Backend) -> Session:
    return await backend.connect()


@pytest.fixture
def name() -> str:
    """A name nobody else uses, for a test's queue, stream or exchange."""
    return f"test-{secrets.token_hex(6)}"
