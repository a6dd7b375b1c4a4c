"""What all tests share: the real broker, started once for those that need it, and laws without deadlines."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from broker.local import LocalRabbit
from tests.rabbit_tools import MAX_CHANNELS, MAX_MESSAGE_BYTES, virtual_hosts
from tests.side_by_side import SideBySide, longest_first

# What asserts for the tests of several folders
pytest.register_assert_rewrite(
    "tests.unit.run.audit", "tests.unit.run.driver", "tests.unit.run.simulation", "tests.unit.run.tables"
)

# Several parties share a machine in many tests: threads that wait for each other would take most of the time
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# TensorFlow tells on standard error which instructions its CPU build uses; read when it is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

# A shell has what it starts in the background pass over Ctrl-C, and with it every process that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a law holds however busy the machine is
settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SideBySide | None:
    """Say which tests may run side by side, unless the command line does (`--dist`)."""
    return SideBySide(config, log) if config.getvalue("dist") == "load" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers of pytest-xdist take tests in this order."""
    items[:] = longest_first(items, lambda item: item.nodeid)


@pytest.fixture(scope="session")
def rabbit() -> Iterator[LocalRabbit]:
    """A private RabbitMQ node. Where RabbitMQ is not installed this fails, and says what to install."""
    limits = {"max_message_size": str(MAX_MESSAGE_BYTES), "channel_max": str(MAX_CHANNELS)}
    with LocalRabbit(extra_config=limits) as node:
        yield node


@pytest.fixture(scope="session")
def vhosts(rabbit: LocalRabbit) -> Iterator[str]:
    """Virtual hosts of that node that nobody has seen."""
    return virtual_hosts(rabbit)
