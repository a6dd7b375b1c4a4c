"""Memory that a daemon and its trainer's process both map, so that tensors go from one to the other without a copy.

It has no name in any file system. The system takes it back when the last process that has it ends, however it ends.
"""

import errno
import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterable
from typing import Final, Self

from fl.client.available import available_bytes
from fl.client.disk import FULL
from fl.client.memory import MIB, no_memory, nowhere
from fl.wire.trainer_pb2 import Span

PAGE: Final = mmap.PAGESIZE
"""Spans begin at a page's beginning, which suits whatever a framework computes with."""

BLOCK: Final = 512
"""What the system counts a file's room in."""


class SharedMemory:
    """Spans one behind the other in a file without a name, which grows, and is never made shorter.

    That no process can make it shorter is sealed where the system knows seals: a page that is gone ends whoever looks
    at it, and a trainer must not end its daemon.
    """

    def __init__(self, fd: int) -> None:
        """`fd` is the file's descriptor, which is closed with this."""
        self.fd: Final = fd
        self._map: mmap.mmap | None = None
        self._end = 0
        self._held = 0
        """Bytes from the beginning that this side has had the system give."""
        self._closed = False

    @classmethod
    def create(cls) -> Self:
        """Empty, in a new file. Raises `OSError`."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("fluffle-trainer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            return cls(fd)
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def keep(self, spans: Iterable[Span] = ()) -> None:
        self._end = max((span.start + span.size for span in spans), default=0)

    def reserve(self, n_bytes: int) -> Span:
        span = Span(start=-(-self._end // PAGE) * PAGE, size=n_bytes)
        end = span.start + n_bytes
        if end > self._held:
            self._take(end)
        self._end = end
        return span

    def view(self, span: Span) -> memoryview:
        end = span.start + span.size
        if self._map is None or len(self._map) < end:
            size = os.fstat(self.fd).st_size
            if size < end:
                raise nowhere(span)
            self._map = mmap.mmap(self.fd, size) if size else None  # the one before stays as long as views of it
        return memoryview(self._map or bytearray())[span.start : end]

    def give_back(self) -> None:
        if self._map is not None and hasattr(mmap, "MADV_REMOVE"):
            self._map.madvise(mmap.MADV_REMOVE)
            self._held = 0

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._map = None
            os.close(self.fd)

    def _take(self, end: int) -> None:
        """Have the system give pages now: one that is promised, and not there later, ends whoever writes to it."""
        n_bytes = end - os.fstat(self.fd).st_blocks * BLOCK  # the other side may have taken some already
        available = available_bytes()
        if available is not None and available < n_bytes:
            raise no_memory(n_bytes, f"{available // MIB} MiB are available here")
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.fd, self._held, end - self._held)
            else:
                os.ftruncate(self.fd, end)
        except OSError as error:
            if error.errno in (*FULL, errno.ENOMEM):
                raise no_memory(n_bytes, f"the system gives no more ({error.strerror})") from None
            raise
        self._held = end
