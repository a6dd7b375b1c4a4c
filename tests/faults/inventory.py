"""What lies on a virtual host, counted by the broker itself."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from broker.local import LocalRabbit

STREAM: Final = -1
"""In place of a number of messages: those of a stream are no leftovers."""


def inventory(rabbit: LocalRabbit, url: str) -> Mapping[str, int]:
    """Every queue with its messages, ready or not acknowledged, and every stream."""
    vhost = unquote(urlsplit(url).path.removeprefix("/"))
    listed = rabbit.ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "type", "messages")
    rows = [line.split() for line in listed.splitlines()]
    return {name: STREAM if kind == "stream" else int(messages) for name, kind, messages in rows}
