"""A broker that lives in one process and keeps the same promises."""

from broker.memory.broker import MemoryBroker
from broker.memory.session import MemorySession

__all__ = ["MemoryBroker", "MemorySession"]
