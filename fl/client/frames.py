"""Messages over a pipe: eight bytes of length, big endian, then that many bytes of protobuf."""

import asyncio
import struct
from typing import BinaryIO, Final

HEADER: Final = struct.Struct(">Q")


def read_frame(pipe: BinaryIO) -> bytes | None:
    """The next frame, waiting for it; None when the other end is closed."""
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    data = pipe.read(length)
    return data if len(data) == length else None


def write_frame(pipe: BinaryIO, data: bytes) -> None:
    pipe.write(HEADER.pack(len(data)))
    pipe.write(data)
    pipe.flush()


async def receive_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Like `read_frame`, in an event loop."""
    try:
        (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


async def send_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Raises `ConnectionError` when the other end is closed."""
    writer.write(HEADER.pack(len(data)))
    writer.write(data)
    await writer.drain()
