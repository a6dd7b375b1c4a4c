"""A quorum queue as data."""

from collections import deque
from dataclasses import replace

from broker.base import Queue, QueueCount
from broker.chaos import Chaos, Fault
from broker.memory.holder import Consumer, Entry, Verdict


class QueueHolder:
    """Lends each entry to one consumer, and again when it comes back."""

    lends = True

    def __init__(self, declared: Queue, chaos: Chaos | None) -> None:
        self.declared = declared
        self._chaos = chaos
        self._returned: deque[Entry] = deque()
        self._fresh: deque[Entry] = deque()
        self._consumers: deque[Consumer] = deque()

    def append(self, entry: Entry) -> None:
        self._fresh.insert(len(self._fresh) - self._passed_by(entry), entry)
        self._deliver()

    def attach(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)
        self._deliver()

    def detach(self, consumer: Consumer) -> list[Entry]:
        self._consumers.remove(consumer)
        dead = [letter for entry in consumer.take_all() for letter in self._put_back(entry, self._returned)]
        self._deliver()
        return dead

    def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> list[Entry]:
        entry = consumer.lent.pop(tag)
        dead: list[Entry] = []
        if verdict == "nack":
            # As RabbitMQ does: without a limit, what is put back goes to the end, or it could block the rest for ever.
            dead = self._put_back(entry, self._fresh if self.declared.delivery_limit is None else self._returned)
        elif verdict == "reject":
            dead = self._dead_letter(entry, "rejected")
        self._deliver()
        return dead

    def count(self) -> QueueCount:
        consumers = len(self._consumers)
        return QueueCount(
            messages=len(self._returned) + len(self._fresh),
            consumers=min(consumers, 1) if self.declared.single_active else consumers,
        )

    def delete(self) -> None:
        for consumer in self._consumers:
            consumer.orphan()

    def _passed_by(self, entry: Entry) -> int:
        """How many of the last messages the new one passes; what one session published stays in order."""
        passed = 0
        if self._chaos is not None:
            for waiting in reversed(self._fresh):
                if waiting.sender == entry.sender or self._chaos.strikes(Fault.OVERTAKE) is None:
                    break
                passed += 1
        return passed

    def _put_back(self, entry: Entry, where: deque[Entry]) -> list[Entry]:
        returns = entry.returns + 1
        limit = self.declared.delivery_limit
        if limit is not None and returns > limit:
            return self._dead_letter(entry, "delivery_limit")
        where.append(replace(entry, returns=returns, headers={**entry.headers, "x-delivery-count": returns}))
        return []

    def _dead_letter(self, entry: Entry, reason: str) -> list[Entry]:
        if self.declared.dead_letter is None:
            return []
        headers: dict[str, str | int] = {
            "x-first-death-exchange": entry.exchange,
            "x-first-death-queue": self.declared.name,
            "x-first-death-reason": reason,
            **entry.headers,
        }
        headers.pop("x-delivery-count", None)
        return [replace(entry, exchange=self.declared.dead_letter, headers=headers, returns=0)]

    def _deliver(self) -> None:
        while (waiting := self._returned or self._fresh) and (consumer := self._ready_consumer()):
            consumer.give(waiting.popleft())

    def _ready_consumer(self) -> Consumer | None:
        """The active consumer, or among equals the one served longest ago, if it has credit."""
        if self.declared.single_active:
            active = self._consumers[0] if self._consumers else None
            return active if active and active.credit > 0 else None
        for _ in range(len(self._consumers)):
            self._consumers.rotate(-1)
            if self._consumers[-1].credit > 0:
                return self._consumers[-1]
        return None
