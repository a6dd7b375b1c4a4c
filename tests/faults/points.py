"""Points where a process ends: before or after one of the calls it makes on its broker, as one line of text.

Every step that matters to others is such a call, so that no code of ours needs a hook. A line has what is done, where,
and what with: `publish log round_committed train 1`, `deliver server train_reply 1`, `publish w.1.<leader> chunk 0`,
`declare u.1.ant.<leader>`, `ack client.ant train_request 2`.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, Self

from broker.base import Binding, Declarable, Message
from broker.blob import CHUNK_TYPE, INDEX
from broker.topology import MARKER
from fl.run.events import RoundCommitted, RoundOpened
from fl.server.secret import OFFER
from fl.wire.envelope import body_of, unseal
from fl.wire.records import read_record
from fl.wire.records_pb2 import LogRecord

RECORDS: Final = frozenset(field.name for field in LogRecord.DESCRIPTOR.oneofs_by_name["record"].fields)
"""Types of messages in a run's log: an envelope has others."""

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Point:
    """Before or after the `nth` call whose line matches `pattern`, in which `*` stands for anything."""

    when: When
    pattern: str
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """`after publish log round_opened train 1`, or for the second call that matches `… #2`."""
        when, _, rest = text.partition(" ")
        pattern, _, nth = rest.partition(" #")
        assert when in {"before", "after"}, f"{text!r}: a point is before or after something"
        return cls("before" if when == "before" else "after", pattern, int(nth or 1))

    def matches(self, line: str) -> bool:
        return fnmatchcase(line, self.pattern)

    def __str__(self) -> str:
        return f"{self.when} {self.pattern}" + (f" #{self.nth}" if self.nth > 1 else "")


def place(name: str) -> str:
    """A queue or stream without what all names of a run share."""
    words = name.split(".")
    return ".".join(words[3:] if words[:2] == ["fl", "run"] else words[1:])


def address(exchange: str, routing_key: str) -> str:
    """Where a message is published to."""
    if not exchange:
        return place(routing_key)
    _, client, *what = routing_key.split(".")
    if len(what) == 1:
        return f"{place(exchange)}.{client}"
    if len(what) == 2:
        return f"{place(exchange)}.{client}.{what[1]}"
    part, round_, leader = what
    return f"{part}.{round_}.{client}.{leader}"


def content(message: Message) -> str:
    """What a message says: its type, and the round or the number of the chunk."""
    if message.type in {MARKER, OFFER}:
        return message.type
    if message.type == CHUNK_TYPE:
        return f"{CHUNK_TYPE} {message.headers[INDEX]}"
    round_ = _round_of_record(message) if message.type in RECORDS else getattr(body_of(unseal(message)), "round", "")
    return f"{message.type} {round_}".rstrip()


def declared(item: Declarable) -> str:
    return f"{place(item.exchange)}-{place(item.queue)}" if isinstance(item, Binding) else place(item.name)


def _round_of_record(message: Message) -> str:
    _, record = read_record(message)
    return f"{record.kind.value} {record.round}" if isinstance(record, RoundOpened | RoundCommitted) else ""
