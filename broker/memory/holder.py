"""What queues and streams have in common: they hold entries and lend them to consumers."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, Protocol

from broker.base import Declarable, QueueCount
from broker.memory.codec import Encoded

Verdict = Literal["ack", "nack", "reject"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A message where it lies, with the headers that the broker adds on delivery."""

    encoded: Encoded
    exchange: str
    routing_key: str
    sender: int
    headers: Mapping[str, str | int] = field(default_factory=dict)
    returns: int = 0


@dataclass(slots=True, eq=False)
class Consumer:
    """The broker's side of a subscription: what it has not settled (`lent`), and not even seen (`inbox`)."""

    holder: "Holder"
    prefetch: int
    wake: Callable[[], None]
    lent: dict[int, Entry] = field(default_factory=dict)
    inbox: deque[int] = field(default_factory=deque)
    orphaned: bool = False
    taken_back: bool = False
    _tags: Iterator[int] = field(default_factory=count)

    @property
    def credit(self) -> int:
        return self.prefetch - len(self.lent)

    def give(self, entry: Entry) -> None:
        tag = next(self._tags)
        self.lent[tag] = entry
        self.inbox.append(tag)
        self.wake()

    def take_all(self) -> list[Entry]:
        """Take away everything that is not settled, in the order it was given."""
        entries = list(self.lent.values())
        self.lent.clear()
        self.inbox.clear()
        return entries

    def orphan(self) -> None:
        """Tell that the queue or stream was deleted, with all that it had lent."""
        self.orphaned = True
        self.take_all()
        self.wake()


class Holder(Protocol):
    """A queue or a stream, as data: whoever calls holds the broker's lock."""

    lends: bool
    """Whether an entry is with one consumer at a time; otherwise each gets all."""

    @property
    def declared(self) -> Declarable: ...

    def append(self, entry: Entry) -> None: ...

    def attach(self, consumer: Consumer) -> None: ...

    def detach(self, consumer: Consumer) -> list[Entry]:
        """Part with a consumer; returns what died of it, addressed to the dead-letter exchange."""

    def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> list[Entry]:
        """End one loan; returns what died of it, addressed to the dead-letter exchange."""

    def count(self) -> QueueCount: ...

    def delete(self) -> None: ...
