"""Everything a broker in memory holds, by name, and how a message finds its way there."""

from broker.base import Binding, Declarable, Exchange, Queue, QueueCount, Stream
from broker.chaos import Chaos
from broker.errors import NotFound, TooLarge, TopologyConflict, Unroutable
from broker.memory.holder import Consumer, Entry, Holder, Verdict
from broker.memory.queue import QueueHolder
from broker.memory.stream import StreamHolder
from broker.patterns import matches


class Store:
    """Plain data without threads or event loops: whoever calls holds the broker's lock."""

    def __init__(self, *, max_message_bytes: int, chaos: Chaos | None) -> None:
        self._max_message_bytes = max_message_bytes
        self._chaos = chaos
        self._holders: dict[str, Holder] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[str, list[Binding]] = {}

    def declare(self, item: Declarable) -> None:
        match item:
            case Exchange():
                _same_or_conflict(self._exchanges.setdefault(item.name, item), item)
            case Binding():
                self._bind(item)
            case Queue() | Stream():
                existing = self._holders.get(item.name)
                if existing is None:
                    self._holders[item.name] = self._new_holder(item)
                else:
                    _same_or_conflict(existing.declared, item)

    def delete(self, name: str) -> None:
        holder = self._holders.pop(name, None)
        if holder is None:
            return
        for exchange, bindings in self._bindings.items():
            self._bindings[exchange] = [binding for binding in bindings if binding.queue != name]
        holder.delete()

    def publish(self, entry: Entry) -> None:
        size = len(entry.encoded.body)
        if size > self._max_message_bytes:
            raise TooLarge(f"message of {size} bytes: this broker takes at most {self._max_message_bytes}")
        if entry.exchange and entry.exchange not in self._exchanges:
            raise NotFound(f"no exchange {entry.exchange!r}: declare it first")
        targets = self._route(entry.exchange, entry.routing_key)
        if not targets:
            raise Unroutable(f"no queue takes routing key {entry.routing_key!r} on exchange {entry.exchange!r}")
        for target in targets:
            target.append(entry)

    def queue(self, name: str) -> Holder:
        return self._holder(name, QueueHolder, "queue")

    def stream(self, name: str) -> Holder:
        return self._holder(name, StreamHolder, "stream")

    def count(self, name: str) -> QueueCount:
        return self._holder(name, object, "queue or stream").count()

    def settle(self, consumer: Consumer, tag: int, verdict: Verdict) -> None:
        if not consumer.orphaned:
            self._bury(consumer.holder.settle(consumer, tag, verdict))

    def detach(self, consumer: Consumer) -> None:
        if not consumer.orphaned:
            self._bury(consumer.holder.detach(consumer))

    def _new_holder(self, item: Queue | Stream) -> Holder:
        return QueueHolder(item, self._chaos) if isinstance(item, Queue) else StreamHolder(item)

    def _bind(self, binding: Binding) -> None:
        if binding.exchange not in self._exchanges:
            raise NotFound(f"no exchange {binding.exchange!r} to bind {binding.queue!r} to: declare it first")
        if binding.queue not in self._holders:
            raise NotFound(f"no queue {binding.queue!r} to bind to {binding.exchange!r}: declare it first")
        bindings = self._bindings.setdefault(binding.exchange, [])
        if binding not in bindings:
            bindings.append(binding)

    def _route(self, exchange: str, key: str) -> list[Holder]:
        if not exchange:
            return [self._holders[key]] if key in self._holders else []
        to_all = self._exchanges[exchange].kind == "fanout"
        bindings = self._bindings.get(exchange, ())
        # A queue with several bindings that match gets the message once.
        names = dict.fromkeys(binding.queue for binding in bindings if to_all or matches(binding.key, key))
        return [self._holders[name] for name in names]

    def _holder(self, name: str, kind: type, what: str) -> Holder:
        holder = self._holders.get(name)
        if holder is None or not isinstance(holder, kind):
            raise NotFound(f"no {what} {name!r}")
        return holder

    def _bury(self, letters: list[Entry]) -> None:
        """Move dead letters to their exchange; where that leads nowhere they are dropped, as RabbitMQ does."""
        for letter in letters:
            if letter.exchange in self._exchanges:
                for target in self._route(letter.exchange, letter.routing_key):
                    target.append(letter)


def _same_or_conflict(existing: Declarable, wanted: Declarable) -> None:
    if existing != wanted:
        raise TopologyConflict(
            f"cannot declare {wanted}: it exists as {existing}; delete it or declare it with the same arguments"
        )
