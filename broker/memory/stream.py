"""A stream as data."""

from dataclasses import replace

from broker.base import QueueCount, Stream
from broker.memory.holder import Consumer, Entry, Verdict


class StreamHolder:
    """Lends every entry to every reader. Settling in whichever way gives the reader credit for another."""

    lends = False

    def __init__(self, declared: Stream) -> None:
        self.declared = declared
        self._entries: list[Entry] = []
        self._first_offset = 0
        self._size = 0
        self._next_offset: dict[Consumer, int] = {}

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._size += len(entry.encoded.body)
        self._forget_oldest()
        for reader in self._next_offset:
            self._deliver(reader)

    def attach(self, consumer: Consumer) -> None:
        self._next_offset[consumer] = self._first_offset
        self._deliver(consumer)

    def detach(self, consumer: Consumer) -> list[Entry]:
        del self._next_offset[consumer]
        consumer.take_all()
        return []

    def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> list[Entry]:
        del consumer.lent[tag]
        self._deliver(consumer)
        return []

    def count(self) -> QueueCount:
        return QueueCount(messages=len(self._entries), consumers=len(self._next_offset))

    def delete(self) -> None:
        for reader in self._next_offset:
            reader.orphan()

    def _forget_oldest(self) -> None:
        limit = self.declared.max_bytes
        while limit is not None and self._size > limit and len(self._entries) > 1:
            self._size -= len(self._entries.pop(0).encoded.body)
            self._first_offset += 1

    def _deliver(self, reader: Consumer) -> None:
        offset = max(self._next_offset[reader], self._first_offset)
        index = offset - self._first_offset
        for entry in self._entries[index : index + reader.credit]:
            reader.give(replace(entry, headers={**entry.headers, "x-stream-offset": offset}))
            offset += 1
        self._next_offset[reader] = offset
