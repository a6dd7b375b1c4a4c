"""URLs that may be shown."""

from urllib.parse import urlsplit


def redact(url: str) -> str:
    """The URL without its password and query, which may hold secrets."""
    parts = urlsplit(url)
    credentials, at, address = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    hidden = ":***" if colon else ""
    return parts._replace(netloc=f"{user}{hidden}{at}{address}", query="", fragment="").geturl()
