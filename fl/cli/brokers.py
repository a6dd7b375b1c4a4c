"""`fluffle broker`: a private RabbitMQ for development."""

import signal
from pathlib import Path

from broker.local import LocalRabbit
from fl.cli.terminal import terminal


def start_broker(*, port: int | None, data: Path | None) -> None:
    """Run a node until Ctrl-C or SIGTERM. Raises `broker.errors.Fatal` where RabbitMQ is not installed."""
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # from here on they only end the wait below
    console = terminal()
    with console.status("starting RabbitMQ, about 8 s"):
        node = LocalRabbit(data, port=port).start()
    with node:
        console.print(
            f"RabbitMQ is up on 127.0.0.1 and nowhere else:\n\n  export FLUFFLE_BROKER={node.url}\n\nCtrl-C ends it.",
            soft_wrap=True,
        )
        signal.sigwait(ends)
