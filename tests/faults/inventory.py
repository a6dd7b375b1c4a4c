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
        io_lib:format("~s ~s ~b;", [element(4, amqqueue:get_name(Queue)), Type, Total])
        || Queue <- rabbit_amqqueue:list(<<"{vhost}">>),
        Type <- [amqqueue:get_type(Queue)],
        {{ok, {{_, Total}}, _}} <- [
            case Type of
                rabbit_quorum_queue -> catch ra:leader_query(amqqueue:get_pid(Queue), {total});
                _ -> {{ok, {{0, 0}}, 0}}
            end
        ]
    ])
"""
TOTAL: Final = "fun rabbit_fifo:query_messages_total/1"
"""Asked of the queue itself: what a node tells of its queues is up to five seconds old."""
CONSUMED: Final = """
    lists:flatten([
        io_lib:format("~s;", [element(4, proplists:get_value(queue_name, Consumer))])
        || Consumer <- rabbit_amqqueue:consumers_all(<<"{vhost}">>)
    ])
"""
READ: Final = """
    lists:flatten([
        io_lib:format("~s ~b;", [element(4, Name), N])
        || [{{name, Name}}, {{type, stream}}, {{consumers, N}}]
        <- rabbit_amqqueue:info_all(<<"{vhost}">>, [name, type, consumers])
    ])
"""
PUSHED: Final = re.compile(r"\.push-[0-9a-f]+$")


def inventory(rabbit: LocalRabbit, url: str) -> Mapping[str, int]:
    """Every queue with its messages, ready or not acknowledged, and every stream.

    But for empty queues that `broker.amqp.push_of` names: what is left of them when a party is killed goes by itself.
    """
    told = evaluate(rabbit, ROWS.format(vhost=_vhost(url), total=TOTAL))
    rows = [row.split() for row in told.split(";")[:-1]]
    counted = {name: STREAM if kind == "rabbit_stream_queue" else int(messages) for name, kind, messages in rows}
    return {name: n for name, n in counted.items() if n or not PUSHED.search(name)}


def n_consumers(rabbit: LocalRabbit, url: str, queue: str) -> int:
    """How many consume a queue, those included that wait for their turn."""
    return evaluate(rabbit, CONSUMED.format(vhost=_vhost(url))).split(";").count(queue)


def readers(rabbit: LocalRabbit, url: str) -> Mapping[str, int]:
    """Every stream, and how many have begun to read it: RabbitMQ 3.10 goes on counting those that are done."""
    rows = [row.split() for row in evaluate(rabbit, READ.format(vhost=_vhost(url))).split(";")[:-1]]
    return {name: int(n) for name, n in rows}


def _vhost(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))
