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
CONSUMED: Final = """
    lists:flatten([
        io_lib:format("~s;", [element(4, proplists:get_value(queue_name, Consumer))])
        || Consumer <- rabbit_amqqueue:consumers_all(<<"{vhost}">>)
    ])
"""
PUSHED: Final = re.compile(r"\.push-[0-9a-f]+$")


def inventory(rabbit: LocalRabbit, url: str) -> Mapping[str, int]:
    """Every queue with its messages, ready or not acknowledged, and every stream.

    But for empty queues that `broker.amqp.push_of` names: what is left of them when a party is killed goes by itself.
    """
    rows = [row.split() for row in evaluate(rabbit, ROWS.format(vhost=_vhost(url))).split(";")[:-1]]
    counted = {name: STREAM if kind == "stream" else int(messages) for name, kind, messages in rows}
    return {name: n for name, n in counted.items() if n or not PUSHED.search(name)}


def n_consumers(rabbit: LocalRabbit, url: str, queue: str) -> int:
    """How many consume a queue, those included that wait for their turn."""
    return evaluate(rabbit, CONSUMED.format(vhost=_vhost(url))).split(";").count(queue)


def _vhost(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))
