"""Messages that make a leader fail: tried again a few times, then taken out of its way."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from broker.base import Delivery
from fl.wire.messages_pb2 import Envelope

MOST_TRIES: Final = 3
"""Times that one worker tries a message that it fails over: the fault may lie in what else was going on."""


@dataclass(slots=True)
class Quarantine:
    """What one worker has failed over, as long as it stands by a run."""

    _failures: dict[bytes, tuple[int, str]] = field(default_factory=dict)

    def note(self, delivery: Delivery, error: Exception) -> None:
        key = _key(delivery)
        times, _ = self._failures.get(key, (0, ""))
        self._failures[key] = (times + 1, f"{type(error).__name__}: {error}")

    def verdict(self, delivery: Delivery) -> str | None:
        """Why this message is not to be tried once more; None if it may be."""
        if not self._failures:
            return None
        times, error = self._failures.get(_key(delivery), (0, ""))
        return None if times < MOST_TRIES else f"the leader failed over it {times} times: {error}"


def _key(delivery: Delivery) -> bytes:
    """The same for a message that comes again, and for one that says the same: a new leader asks for it once more."""
    content = bytes(delivery.message.body)
    with suppress(DecodeError):
        envelope = Envelope.FromString(content)
        envelope.ClearField("sent_at")
        content = envelope.SerializeToString(deterministic=True)
    return hashlib.sha256(f"{delivery.routing_key} ".encode() + content).digest()
