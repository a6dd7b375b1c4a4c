"""What a dead letter was about, as far as it can be told."""

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as Proto

from broker.dead import DeadLetter
from broker.topology import DOWN, UP, Key, client_queue, run_queue
from fl.errors import BadMessage
from fl.wire.envelope import OtherProtocol, unseal
from fl.wire.messages_pb2 import Envelope
from fl.wire.records import read_record
from fl.wire.records_pb2 import LogRecord
from fl.wire.tensors_pb2 import Tensors

RECORDS: Final = frozenset(field.name for field in LogRecord.DESCRIPTOR.oneofs_by_name["record"].fields)
"""Types of messages in the logs of runs."""

SHOWN_BYTES: Final = 64
"""Of bytes that mean nothing to us, this many are shown."""


@dataclass(frozen=True, slots=True)
class About:
    """A dead letter in a line. What nobody can tell is empty."""

    what: str
    run: str
    client: str
    at: float | None
    """When it died, or else when it was sent, in seconds since the epoch."""


def about(letter: DeadLetter) -> About:
    """What kind of message it was, and of which run and client, by what the broker vouches for before what it says."""
    envelope = _envelope(letter)
    run, client = _parties(letter)
    if envelope is None:
        return About(letter.message.type or "unreadable", run, client, letter.died_at)
    sent_at = envelope.sent_at or None
    what = envelope.WhichOneof("body") or letter.message.type
    return About(what, run or envelope.run, client, letter.died_at or sent_at)


def content(letter: DeadLetter) -> dict[str, Any]:
    """The body as tables of text and numbers, tensors by their layout and size only.

    Raises `BadMessage`, saying why, where it is neither an envelope nor a record that this release understands.
    """
    message = letter.message
    if message.type in RECORDS:  # by its bytes alone it could be taken for an envelope
        entry, _ = read_record(message)
        return _table(entry)
    return _table(unseal(message))


def beginning(body: bytes | bytearray | memoryview) -> str:
    """Of bytes that mean nothing to us the first ones, in hexadecimal."""
    more = f" and {len(body) - SHOWN_BYTES} bytes more" if len(body) > SHOWN_BYTES else ""
    return bytes(body[:SHOWN_BYTES]).hex(" ") + more


def _envelope(letter: DeadLetter) -> Envelope | None:
    if letter.message.type in RECORDS:
        return None
    try:
        return unseal(letter.message)
    except OtherProtocol as error:
        return error.envelope
    except BadMessage:
        return None


def _parties(letter: DeadLetter) -> tuple[str, str]:
    """The run and the client by the way that the letter went."""
    if letter.exchange in {UP.name, DOWN.name}:
        try:
            key = Key.parse(letter.routing_key)
        except ValueError:
            return "", ""
        return key.run, key.client
    queue, word, shard = letter.queue.rpartition(".")
    of_run = queue if word and shard.isdecimal() else letter.queue
    return _between(of_run, run_queue("\0")), _between(letter.queue, client_queue("\0"))


def _between(name: str, pattern: str) -> str:
    """What stands for the gap of a name's pattern; empty where the name is another's."""
    before, _, after = pattern.partition("\0")
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else ""


def _table(message: Proto) -> dict[str, Any]:
    return {field.name: _named(field, value) for field, value in message.ListFields()}


def _named(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return field.enum_type.values_by_number[value].name
    return _value(value)


def _value(value: Any) -> Any:
    match value:
        case Tensors():
            return _tensors(value)
        case Proto():
            return _table(value)
        case bytes():
            return f"{len(value)} bytes: {beginning(value)}"
        case str() | int() | float():
            return value
    return _plural(value)


def _plural(values: Any) -> Any:
    """A repeated field, or a map."""
    if hasattr(values, "items"):
        return {str(key): _value(value) for key, value in values.items()}
    return [_value(value) for value in values]


def _tensors(tensors: Tensors) -> dict[str, Any]:
    layout = [f"{one.name} {one.dtype} {tuple(one.shape)}" for one in tensors.layout]
    where: dict[str, Any] = {"inline": f"{len(tensors.inline)} bytes"}
    if tensors.WhichOneof("data") == "ref":
        where = {"stream": tensors.ref.stream, "bytes": tensors.ref.bytes, "chunks": tensors.ref.chunks}
    return {"layout": layout, "digest": tensors.digest.hex(), **where}
