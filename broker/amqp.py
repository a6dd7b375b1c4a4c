"""How declarations and messages look in AMQP, for both libraries that speak it."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.base import Declarable, Queue, Stream

Arguments = dict[str, Any]
"""An AMQP table; each library has its own name for what it may hold."""

FROM_FIRST: Final[Arguments] = {"x-stream-offset": "first"}
"""A consumer argument: read a stream from its first record."""

PERSISTENT: Final = 2
"""The delivery mode that survives a restart of the broker."""

PUSH: Final[Arguments] = {"x-queue-type": "quorum", "x-expires": 60_000}
"""How the queue of `push_of` is declared: left behind by a lost connection it goes by itself."""

_MIN_SEGMENT_BYTES: Final = 1024 * 1024
_MAX_SEGMENT_BYTES: Final = 500_000_000
_SEGMENTS: Final = 4


def arguments(item: Queue | Stream) -> Arguments:
    """What `queue.declare` is told beside the name; every queue and stream is durable."""
    return _queue_arguments(item) if isinstance(item, Queue) else _stream_arguments(item)


def push_of(items: Iterable[Declarable]) -> str | None:
    """The name of a queue to declare and to delete after these, so that a crash of the node loses none of them.

    A node writes down late which quorum queues it has, after one to three seconds (a cached table of its Raft library).
    Killed before that, it starts such a queue again as an empty one, whatever it had confirmed. But when it looks for a
    name that is not in the cache, it writes the cache first: declaring one more queue, of a new name, makes it look.
    Exchanges, bindings and streams are safe when their declaration is answered, but for the first stream that a new
    broker ever has: that one takes a second.
    """
    name = next((item.name for item in items if isinstance(item, Queue)), None)
    return None if name is None else f"{name}.push-{secrets.token_hex(8)}"


def plain_headers(headers: Mapping[str, Any] | None) -> dict[str, str | int]:
    """The headers that are text or integers; a broker may add tables, such as `x-death`, which are left out."""
    return {name: value for name, value in (headers or {}).items() if isinstance(value, (str, int))}


def _queue_arguments(queue: Queue) -> Arguments:
    found: Arguments = {"x-queue-type": "quorum"}
    if queue.single_active:
        found["x-single-active-consumer"] = True
    if queue.dead_letter is not None:
        found["x-dead-letter-exchange"] = queue.dead_letter
    if queue.delivery_limit is not None:
        found["x-delivery-limit"] = queue.delivery_limit
    return found


def _stream_arguments(stream: Stream) -> Arguments:
    found: Arguments = {"x-queue-type": "stream"}
    if stream.max_bytes is not None:
        found["x-max-length-bytes"] = stream.max_bytes
        # Only whole segments are dropped, and never the last: with the default of 500 MB a small limit has no effect.
        segment = stream.max_bytes // _SEGMENTS
        found["x-stream-max-segment-size-bytes"] = min(max(segment, _MIN_SEGMENT_BYTES), _MAX_SEGMENT_BYTES)
    return found
