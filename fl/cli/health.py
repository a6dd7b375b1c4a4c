"""`fluffle health`: is the broker there, and whoever is asked for?"""

from broker import topology
from broker.blocking import BlockingBroker
from broker.errors import NotFound
from broker.redact import redact
from fl.errors import Fatal


def check_health(url: str, *, client: str | None, timeout_s: float) -> None:
    """Print one line when all is well. Raises what is wrong, `BrokerError` or `Fatal`."""
    with BlockingBroker(url, timeout_s=timeout_s) as broker:
        if client is not None:
            _check_client(broker, client)
        print(f"ok: {redact(url)}, {_dead_letters(broker)} dead letters")  # noqa: T201  # the command's output


def _check_client(broker: BlockingBroker, client: str) -> None:
    try:
        consumers = broker.count(topology.client_queue(client)).consumers
    except NotFound:
        raise Fatal(f"client {client!r} has no queue on this broker: it never connected, or is not enrolled") from None
    if consumers == 0:
        raise Fatal(f"client {client!r} is not connected: nobody consumes {topology.client_queue(client)}")


def _dead_letters(broker: BlockingBroker) -> int:
    try:
        return broker.count(topology.DEAD_QUEUE.name).messages
    except NotFound:
        return 0
