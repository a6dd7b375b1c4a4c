"""Bytes beside memory, in a file without a name: it dies with the process, and nobody else can open it."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from broker.threads import in_thread

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Place:
    """Where bytes lie in the file."""

    start: int
    length: int

    @property
    def room(self) -> int:
        """What is set aside for them: a power of two, so that others fit in once they are gone."""
        return 1 << (self.length - 1).bit_length()


class ScratchFile:
    """Made for the first bytes; places that were freed are used again. It is as long as what it held at most, or twice.

    Writing and reading raise `OSError`, as where the disk is full.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._gaps: defaultdict[int, list[int]] = defaultdict(list)
        """Starts of places that were freed, by their room."""

    async def write(self, parts: Iterable[Bytes]) -> list[Place]:
        """The place of each. Where one is not written, none is."""
        if self._file is None:
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115  # until `close`
        pairs = [(self._place_for(len(part)), part) for part in parts]
        places = [place for place, _ in pairs]
        try:
            await in_thread(_write, self._file.fileno(), pairs)
        except OSError:
            for place in places:
                self.free(place)
            raise
        return places

    async def read(self, place: Place) -> bytearray:
        assert self._file is not None, "a place was written to"
        # Not made in the thread: the C library keeps memory for each thread that has asked for some.
        data = bytearray(place.length)
        if await in_thread(os.preadv, self._file.fileno(), [data], place.start) < place.length:
            raise OSError(f"of {place.length} bytes that were written not all are there")
        return data

    def free(self, place: Place) -> None:
        """Let other bytes be written there."""
        self._gaps[place.room].append(place.start)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _place_for(self, length: int) -> Place:
        room = Place(0, length).room
        if self._gaps[room]:
            return Place(self._gaps[room].pop(), length)
        place, self._end = Place(self._end, length), self._end + room
        return place


def _write(file: int, pairs: Iterable[tuple[Place, Bytes]]) -> None:
    """All of each: a disk that fills up takes a part first, and fails the next time."""
    for place, part in pairs:
        left, start = memoryview(part), place.start
        while left:
            written = os.pwrite(file, left, start)
            left, start = left[written:], start + written
