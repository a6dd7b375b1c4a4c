"""Where a broker is and who we are there, read from a URL."""

import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from broker.errors import Fatal, Unreachable
from broker.redact import redact

DEFAULT_PORTS: Final = {"amqp": 5672, "amqps": 5671}
TLS_OPTIONS: Final = ("cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address with our credentials, which no text made from it shows; `tls` is None for plain TCP."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def identity(self) -> str:
        return f"user {self.user!r} on vhost {self.vhost!r} of {self}"


def parse_addresses(url: str) -> tuple[Address, ...]:
    """Read `amqp[s]://user:password@host:port/vhost`, for TLS with `?cafile=…&certfile=…&keyfile=…`.

    The nodes of a cluster are several hosts with commas between them: `amqp://user:password@one:5672,other:5672/vhost`.
    An empty vhost means `/`. Raises `Fatal` for a URL that cannot be used.
    """
    parts = urlsplit(url)
    try:
        hosts = _hosts(parts)
    except (KeyError, ValueError) as error:
        raise Fatal(f"{redact(url)} is no broker URL: use amqp[s]://user:password@host:port/vhost") from error
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    tls = _tls_context(options, encrypted=parts.scheme == "amqps")
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return tuple(
        Address(
            host=host,
            port=port,
            user=unquote(user or "guest"),
            password=unquote(password or "guest"),
            vhost=unquote(parts.path.removeprefix("/")) or "/",
            tls=tls,
        )
        for host, port in hosts
    )


def to_try(url: str) -> list[Address]:
    """The addresses that a URL names, in an order of chance: parties spread over the nodes that answer."""
    addresses = parse_addresses(url)
    return random.sample(addresses, len(addresses))


def nobody_answers(failures: Sequence[Unreachable]) -> Unreachable:
    """One error for all addresses that were tried."""
    return Unreachable("; ".join(map(str, failures)))


def _hosts(parts: SplitResult) -> list[tuple[str, int]]:
    default = DEFAULT_PORTS[parts.scheme]
    each = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    return [(one.hostname or "localhost", one.port or default) for one in each]


def _tls_context(options: Mapping[str, str], *, encrypted: bool) -> ssl.SSLContext | None:
    allowed = TLS_OPTIONS if encrypted else ()
    for option in options:
        if option not in allowed:
            raise Fatal(f"unknown option {option!r} in the broker URL: amqps:// knows {', '.join(TLS_OPTIONS)}")
    if not encrypted:
        return None
    try:
        context = ssl.create_default_context(cafile=options.get("cafile"))
        if "certfile" in options:
            context.load_cert_chain(options["certfile"], options.get("keyfile"))
    except OSError as error:
        raise Fatal(f"cannot read the TLS files {options} that the broker URL names: {error}") from error
    return context
