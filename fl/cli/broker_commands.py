"""`fluffle broker`: a private RabbitMQ."""

from pathlib import Path
from typing import Annotated

import typer

from fl.cli.group import new_app

broker_app = new_app("A private RabbitMQ for development.")


@broker_app.command()
def start(
    port: Annotated[int | None, typer.Option(help="AMQP port on 127.0.0.1; without it a free one.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep its data in; without it they go when it stops.")
    ] = None,
) -> None:
    """Start a private RabbitMQ on this machine, until Ctrl-C."""
    from fl.cli.brokers import start_broker

    start_broker(port=port, data=data)
