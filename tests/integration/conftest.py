"""Brokers for whole runs: one of each kind, empty at the start of each test."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker.local import LocalRabbit

AT_A_TIME: Final = 8


@pytest.fixture(scope="session")
def rabbit_urls(rabbit: LocalRabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Virtual hosts that nobody has seen, made some at a time: `rabbitmqctl` takes a second whatever it does."""
    return _virtual_hosts(rabbit, tmp_path_factory.mktemp("virtual-hosts") / "definitions.json")


def _virtual_hosts(rabbit: LocalRabbit, definitions: Path) -> Iterator[str]:
    all_of_it = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    while True:
        names = [f"test-{secrets.token_hex(4)}" for _ in range(AT_A_TIME)]
        permissions = [{"vhost": name, **all_of_it} for name in names]
        definitions.write_text(json.dumps({"vhosts": [{"name": name} for name in names], "permissions": permissions}))
        rabbit.ctl("import_definitions", str(definitions))
        yield from (f"{rabbit.url}{name}" for name in names)


@pytest.fixture
def rabbit_url(rabbit_urls: Iterator[str]) -> str:
    """A virtual host of the real broker that no other test has seen; it goes with its node."""
    return next(rabbit_urls)


@pytest.fixture
def memory_url() -> str:
    """An embedded broker of this process."""
    return f"memory://{secrets.token_hex(4)}"


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Each kind of broker in turn."""
    url: str = request.getfixturevalue(f"{request.param.removesuffix('mq')}_url")
    return url
