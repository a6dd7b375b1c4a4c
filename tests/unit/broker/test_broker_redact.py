"""URLs and addresses never show a password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.address import parse_addresses, to_try
from broker.errors import Fatal
from broker.redact import redact

SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.~", min_size=8)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://alice:secret@host:5672/vhost", "amqp://alice:***@host:5672/vhost"),
        ("amqps://alice:se%40cret@host/", "amqps://alice:***@host/"),
        ("amqp://:secret@host/", "amqp://:***@host/"),
        ("amqp://alice@host/", "amqp://alice@host/"),
        ("amqp://host/?password=secret", "amqp://host/"),
        ("amqp://a:b:secret@host/", "amqp://a:***@host/"),
        ("amqp://alice:sec@ret@host/", "amqp://alice:***@host/"),
        ("memory://here", "memory://here"),
        ("no url at all", "no url at all"),
    ],
)
def test_a_redacted_url_keeps_all_but_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(SECRETS)
def test_no_password_survives_redaction(secret: str) -> None:
    assert secret not in redact(f"amqp://user:{secret}@broker.example/")


@given(SECRETS)
def test_no_text_of_an_address_shows_its_password(secret: str) -> None:
    (address,) = parse_addresses(f"amqp://user:{secret}@broker.example/")

    assert secret not in f"{address} {address!r} {address.identity}"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("amqp://alice:pw@host:1/v", ("host", 1, "alice", "pw", "v")),
        ("amqp://host", ("host", 5672, "guest", "guest", "/")),
        ("amqp://host/", ("host", 5672, "guest", "guest", "/")),
        ("amqps://host/", ("host", 5671, "guest", "guest", "/")),
        ("amqp://host/%2F", ("host", 5672, "guest", "guest", "/")),
        ("amqp://host/a%2Fb", ("host", 5672, "guest", "guest", "a/b")),
        ("amqp://a%40b:p%3Aw@host/", ("host", 5672, "a@b", "p:w", "/")),
        ("amqp://[::1]:5673/", ("::1", 5673, "guest", "guest", "/")),
    ],
)
def test_an_address_is_read_from_its_url(url: str, found: tuple[str, int, str, str, str]) -> None:
    (address,) = parse_addresses(url)

    assert (address.host, address.port, address.user, address.password, address.vhost) == found


def test_several_hosts_share_everything_but_their_ports() -> None:
    found = parse_addresses("amqp://a:b@one:1,other,[::1]:3/v")

    assert [(each.host, each.port) for each in found] == [("one", 1), ("other", 5672), ("::1", 3)]
    assert {(each.user, each.password, each.vhost) for each in found} == {("a", "b", "v")}


def test_hosts_are_tried_in_an_order_of_chance() -> None:
    url = "amqp://one,two,three/"

    assert len({tuple(each.host for each in to_try(url)) for _ in range(200)}) == 6


def test_no_password_of_several_hosts_survives_redaction() -> None:
    assert redact("amqp://a:secret@one:1,other:2/v?cafile=x") == "amqp://a:***@one:1,other:2/v"


def test_only_amqps_is_encrypted() -> None:
    assert (parse_addresses("amqp://h/")[0].tls is None, parse_addresses("amqps://h/")[0].tls is None) == (True, False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://alice:secret@host/", "http://alice:\\*\\*\\*@host/ is no broker URL"),
        ("amqp://host:port/", "is no broker URL"),
        ("amqps://host/?cafil=x", "unknown option 'cafil'.*cafile, certfile, keyfile"),
        ("amqp://host/?cafile=x", "unknown option 'cafile'"),
        ("amqps://host/?cafile=/nonexistent", "cannot read the TLS files.*/nonexistent"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, said: str) -> None:
    with pytest.raises(Fatal, match=said):
        parse_addresses(url)
