"""Where a broker is and who we are there, read from a URL."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from broker.errors import Fatal
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


def parse_address(url: str) -> Address:
    """Read `amqp[s]://user:password@host:port/vhost`, for TLS with `?cafile=…&certfile=…&keyfile=…`.

    An empty vhost means `/`. Raises `Fatal` for a URL that cannot be used.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (KeyError, ValueError) as error:
        raise Fatal(f"{redact(url)} is no broker URL: use amqp[s]://user:password@host:port/vhost") from error
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return Address(
        host=parts.hostname or "localhost",
        port=port,
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        vhost=unquote(parts.path.removeprefix("/")) or "/",
        tls=_tls_context(options, encrypted=parts.scheme == "amqps"),
    )


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
