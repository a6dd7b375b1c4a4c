"""Options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Broker = Annotated[
    str,
    typer.Option(
        envvar="FLUFFLE_BROKER",
        metavar="URL",
        show_default=False,
        help="amqps://user:password@host/vhost; better kept in the environment than on the command line.",
    ),
]
LogLevel = Annotated[str, typer.Option(envvar="FLUFFLE_LOG", help="debug, info, warning or error.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run, or the beginning of it.")]
StartWeights = Annotated[
    Path | None, typer.Option(help="Safetensors file, or folder of checkpoints, to start from.", show_default=False)
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the broker before giving up.")]
