"""Everything also goes over TLS, to a broker whose certificate is known."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker import blob
from broker.base import Message, Queue
from broker.connect import open_session
from broker.errors import Fatal
from broker.local import LocalRabbit
from broker.processes import free_ports
from tests.contract.backends import PATIENCE_S, bodies

pytestmark = pytest.mark.rabbitmq


def certify(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "broker.pem", folder / "broker.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a node that speaks TLS, and its certificate."""
    certificate, key = certify(tmp_path_factory.mktemp("tls"))
    (port,) = free_ports(1)
    config = {
        "listeners.ssl.1": f"127.0.0.1:{port}",
        "ssl_options.cacertfile": str(certificate),
        "ssl_options.certfile": str(certificate),
        "ssl_options.keyfile": str(key),
    }
    with LocalRabbit(extra_config=config):
        yield f"amqps://guest:guest@127.0.0.1:{port}/", certificate


async def test_messages_and_bulk_arrive(secure: tuple[str, Path], name: str) -> None:
    # Given
    url, certificate = secure
    session = await open_session(f"{url}?cafile={certificate}", name="contract")
    data = os.urandom(5_000_001)

    # When
    await session.declare(Queue(f"{name}-queue"))
    await session.publish(Message(b"hello"), routing_key=f"{name}-queue")
    async with asyncio.timeout(PATIENCE_S):
        ref = await blob.put(session, name, data)
        got = await blob.get(session, ref)

    # Then
    assert got == data
    assert await bodies(await session.consume(f"{name}-queue", prefetch=1), 1) == [b"hello"]
    await session.close()


async def test_a_broker_whose_certificate_is_not_known_is_not_trusted(secure: tuple[str, Path]) -> None:
    url, _ = secure

    with pytest.raises(Fatal, match="not trusted"):
        await open_session(url, name="contract")
