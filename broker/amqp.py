"""How declarations and messages look in AMQP, for both libraries that speak it."""

from collections.abc import Mapping
from typing import Any, Final

from broker.base import Queue, Stream

Arguments = dict[str, Any]
"""An AMQP table; each library has its own name for what it may hold."""

FROM_FIRST: Final[Arguments] = {"x-stream-offset": "first"}
"""A consumer argument: read a stream from its first record."""

PERSISTENT: Final = 2
"""The delivery mode that survives a restart of the broker."""

_MIN_SEGMENT_BYTES: Final = 1024 * 1024
_MAX_SEGMENT_BYTES: Final = 500_000_000
_SEGMENTS: Final = 4


def arguments(item: Queue | Stream) -> Arguments:
    """What `queue.declare` is told beside the name; every queue and stream is durable."""
    return _queue_arguments(item) if isinstance(item, Queue) else _stream_arguments(item)


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
