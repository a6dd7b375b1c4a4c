"""A session of whichever broker a URL names."""

from urllib.parse import unquote, urlsplit

from broker.base import OnBlocked, Session
from broker.errors import Fatal


def _say_nothing(_: str | None) -> None: ...


async def open_session(
    url: str,
    *,
    name: str,
    heartbeat_s: int = 5,
    timeout_s: float = 10.0,
    on_blocked: OnBlocked = _say_nothing,
) -> Session:
    """Connect to `amqp://…`, `amqps://…`, or to the broker `memory://<name>` of this process.

    `name` is shown in the broker's list of connections. `on_blocked` is told when the broker takes no messages, for
    lack of memory or disk, which a broker says to whoever publishes: calls then wait, and go on when it takes them
    again. The embedded broker never does that. Raises `Unreachable` if nobody answers within `timeout_s`,
    `AccessRefused` for wrong credentials, `Fatal` for a URL that names no broker.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return _open_memory(url)
    if scheme in {"amqp", "amqps"}:
        from broker import rabbitmq  # noqa: PLC0415 - the embedded broker needs no AMQP library

        return await rabbitmq.open_session(
            url, name=name, heartbeat_s=heartbeat_s, timeout_s=timeout_s, on_blocked=on_blocked
        )
    raise Fatal(f"broker URL scheme {scheme!r} is unknown: use amqp://, amqps:// or memory://")


def _open_memory(url: str) -> Session:
    from broker.memory import MemoryBroker  # noqa: PLC0415 - only who uses it loads it

    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return MemoryBroker.named(host).connect(unquote(user.partition(":")[0]) or "guest")
