"""Patterns of permissions, over all names that there are at a broker; `test_enrolled` asks a broker about some."""

import re
from pathlib import Path
from typing import Final

import pytest

from broker import topology
from broker.access import Permissions, of_client, of_observer
from broker.topology import Room

README: Final = (Path(__file__).parents[3] / "README.md").read_text("utf-8")
CLIENT: Final = of_client("hospital-a")

TOLD: Final = {
    topology.RUNS.name,
    topology.weights_stream("run", 1, "leader"),
    topology.weights_stream("run", 0, "submitted-fixed"),
    topology.sent_stream("run", 1, "leader"),
}
TO_CLIENTS: Final = {topology.client_queue("hospital-a"), topology.aux_stream("run", 1, "leader")}
LOG: Final = topology.run_log("run")
OTHERS: Final = {
    topology.secret_stream("run"),
    topology.state_stream("run", 1, "leader"),
    topology.sum_stream("run", 1, 0, "leader"),
    topology.aux_sum_stream("run", 1, 0, "leader"),
    topology.run_queue("run"),
    topology.shard_queue("run", 0),
    topology.client_queue("hospital-ab"),
    topology.client_queue("other-hospital-a"),
    Room("run", 1, "hospital-a", "leader", "u").stream,
    Room("run", 1, "hospital-a", "leader", "x").stream,
    topology.UP.name,
    topology.DOWN.name,
    topology.DEAD.name,
    topology.QUOTA.name,
}


def readable(may: Permissions) -> set[str]:
    return {name for name in TOLD | TO_CLIENTS | {LOG} | OTHERS if re.search(may.read, name)}


def test_a_client_reads_its_queue_and_what_it_trains_from() -> None:
    assert readable(CLIENT) == TOLD | TO_CLIENTS


def test_an_observer_reads_announcements_logs_and_weights() -> None:
    assert readable(of_observer()) == TOLD | {LOG}


@pytest.mark.parametrize("name", sorted(TOLD | TO_CLIENTS | OTHERS))
def test_a_client_publishes_to_the_one_exchange_and_declares_nothing(name: str) -> None:
    assert bool(re.search(CLIENT.write, name)) == (name == topology.UP.name)
    assert not re.search(CLIENT.configure, name)


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("run.hospital-a.train_reply", True),
        (Room("run", 1, "hospital-a", "leader").key, True),
        ("run.hospital-b.train_reply", False),
        ("run.hospital-ab.train_reply", False),
        ("run.other.hospital-a.train_reply", False),
    ],
)
def test_a_client_sends_under_its_own_name_only(key: str, may: bool) -> None:
    pattern, _ = CLIENT.topics[topology.UP.name]

    assert bool(re.search(pattern, key)) == may


def test_what_cannot_be_a_client_gets_no_permissions() -> None:
    with pytest.raises(ValueError, match=r"client .\.\*."):
        of_client(".*")


@pytest.mark.parametrize("may", [CLIENT, of_observer()], ids=["client", "observer"])
def test_the_readme_has_these_patterns(may: Permissions) -> None:
    keys = [key for pair in may.topics.values() for key in pair]

    for pattern in (may.configure, may.write, may.read, *keys):
        assert f"'{pattern}'" in README
