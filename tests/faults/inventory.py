"""What lies on a virtual host, counted by the broker itself."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from broker.local import LocalRabbit
from tests.rabbit_tools import evaluate

STREAM: Final = -1
"""In place of a number of messages: those of a stream are no leftovers."""
ROWS: Final = """
    lists:flatten([
        io_lib:format("~s ~s ~b;", [element(4, Name), Type, N])
        || [{{name, Name}}, {{type, Type}}, {{messages, N}}]
        <- rabbit_amqqueue:info_all(<<"{vhost}">>, [name, type, messages])
    ])
"""
PUSHED: Final = re.compile(r"\.push-[0-9a-f]+$")


def inventory(rabbit: LocalRabbit, url: str) -> Mapping[str, int]:
    """Every queue with its messages, ready or not acknowledged, and every stream.

    But for empty queues that `broker.amqp.push_of` names: what is left of them when a party is killed goes by itself.
    """
    vhost = unquote(urlsplit(url).path.removeprefix("/"))
    rows = [row.split() for row in evaluate(rabbit, ROWS.format(vhost=vhost)).split(";")[:-1]]
    counted = {name: STREAM if kind == "stream" else int(messages) for name, kind, messages in rows}
    return {name: n for name, n in counted.items() if n or not PUSHED.search(name)}
