"""Who may do what at a broker: users' permissions, as RabbitMQ has them, by what they are there for.

Workers, and whoever submits runs, declare and read nearly everything, and may as well have `.*`. A site's daemon, and
whoever only looks on, get what follows, and with it neither others' updates nor the secret of a run
(`topology.secret_stream`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.topology import RUNS, UP, check_name, client_queue

NOTHING: Final = "^$"
DEFAULT_EXCHANGE: Final = "amq.default"
"""What permissions call the exchange without a name."""

_OF_CLIENTS: Final = r"[wca]\.[^.]+\.[^.]+"
"""Bulk of a run that its clients read: weights, exact or compressed, and what optimizers tell."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Regular expressions for names of queues, streams and exchanges."""

    configure: str = NOTHING
    """What a user may declare and delete."""
    write: str = NOTHING
    """What it may publish to."""
    read: str = NOTHING
    """What it may consume."""
    topics: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By topic exchange, the routing keys that it may (publish with, bind)."""


def of_client(name: str) -> Permissions:
    """A daemon's: its queue, announcements, and what it trains from; and `fl.up`, under its own name. `ValueError`."""
    own = client_queue(check_name(name, "client"))
    return Permissions(
        write=_exactly(UP.name),
        read=_one_of(_plain(own), _plain(RUNS.name), rf"fl\.run\.[^.]+\.{_OF_CLIENTS}"),
        topics={UP.name: (rf"^[^.]+\.{name}\..+", NOTHING)},
    )


def of_observer() -> Permissions:
    """Of whoever lists, watches and fetches runs: what is announced, logs and weights.

    To know where a stream ends, readers write a marker to it, through the exchange that leads to all queues: observers
    see no secrets, but could forge.
    """
    return Permissions(
        write=_exactly(DEFAULT_EXCHANGE), read=_one_of(_plain(RUNS.name), r"fl\.run\.[^.]+\.(log|[wc]\.[^.]+\.[^.]+)")
    )


def _exactly(name: str) -> str:
    return _one_of(_plain(name))


def _one_of(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$" if len(patterns) > 1 else f"^{patterns[0]}$"


def _plain(name: str) -> str:
    """A pattern of this name alone: names hold no other character that means something."""
    return name.replace(".", r"\.")
