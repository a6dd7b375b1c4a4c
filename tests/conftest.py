"""The real broker, started once for all tests that need it."""

from collections.abc import Iterator

import pytest

from broker.local import LocalRabbit
from tests.rabbit_tools import MAX_CHANNELS, MAX_MESSAGE_BYTES


@pytest.fixture(scope="session")
def rabbit() -> Iterator[LocalRabbit]:
    """A private RabbitMQ node. Where RabbitMQ is not installed this fails, and says what to install."""
    limits = {"max_message_size": str(MAX_MESSAGE_BYTES), "channel_max": str(MAX_CHANNELS)}
    with LocalRabbit(extra_config=limits) as node:
        yield node
