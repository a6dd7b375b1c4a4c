"""Where tensors lie that are too big for a message between a daemon and its trainer."""

from collections.abc import Iterable
from typing import Final, Protocol

from fl.errors import BadMessage, FluffleError
from fl.wire.trainer_pb2 import Span

MIB: Final = 2**20


class NoMemory(FluffleError):
    """This site has no memory for tensors of that size."""


class Memory(Protocol):
    """Memory of one daemon and one trainer, which hold a call's tensors in it by turns."""

    def keep(self, spans: Iterable[Span] = ()) -> None:
        """Forget all spans but these: what is reserved next may lie where they lay."""

    def reserve(self, n_bytes: int) -> Span:
        """A span that is nobody else's, with anything in it. May take a second a GiB. Raises `NoMemory`."""

    def view(self, span: Span) -> memoryview:
        """The bytes of a span, to be read and written, for as long as somebody holds them. Raises `BadMessage`."""

    def give_back(self) -> None:
        """Let the system have the memory until spans are reserved again. What was in it is lost."""

    def close(self) -> None:
        """Reserve nothing more. Harmless when repeated; views stay as they are."""


class OwnMemory:
    """Memory within one process: every span is a buffer of its own, and lives as long as somebody looks at it."""

    def __init__(self) -> None:
        self._buffers: dict[int, bytearray] = {}
        self._end = 0

    def keep(self, spans: Iterable[Span] = ()) -> None:
        kept = {span.start for span in spans}
        self._buffers = {start: buffer for start, buffer in self._buffers.items() if start in kept}

    def reserve(self, n_bytes: int) -> Span:
        span = Span(start=self._end, size=n_bytes)
        try:
            self._buffers[span.start] = bytearray(n_bytes)
        except MemoryError:
            raise no_memory(n_bytes, "this process gets no more from the system") from None
        self._end += max(n_bytes, 1)  # where a span starts is its name here, and each has another
        return span

    def view(self, span: Span) -> memoryview:
        buffer = self._buffers.get(span.start)
        if buffer is None or len(buffer) != span.size:
            raise nowhere(span)
        return memoryview(buffer)

    def give_back(self) -> None:
        self._buffers.clear()

    def close(self) -> None:
        self._buffers.clear()


def no_memory(n_bytes: int, why: str) -> NoMemory:
    return NoMemory(f"this site has no memory for {-(-n_bytes // MIB)} MiB of tensors: {why}")


def nowhere(span: Span) -> BadMessage:
    return BadMessage(f"{span.size} bytes at {span.start} are not in the memory of this trainer and its daemon")
