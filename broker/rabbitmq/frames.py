"""Frames of AMQP 0-9-1 over a socket, for a thread that may wait.

AMQP libraries copy a body five to seven times on its way. Here its bytes go straight between the socket and where they
belong; what the frames around them say is left to a library.
"""

import select
import socket
import ssl
from collections.abc import Callable
from struct import Struct
from typing import Final

from pamqp import commands
from pamqp.base import Frame
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader, ProtocolHeader

from broker.errors import ConnectionLost

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3

_HEAD: Final = Struct(">BHI")
"""Type, channel and size of a frame."""
_END: Final = b"\xce"
_MOST_AT_ONCE: Final = 1000
"""Pieces that one call to the system takes."""
_LEAST_BYTES: Final = 4096
"""How long a frame may be before both sides have agreed on more."""

Piece = bytes | memoryview


class Frames:
    """Both ends of a connection, as frames. What the socket raises is `ConnectionLost`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._poll = select.poll()
        self._head = memoryview(bytearray(_HEAD.size))
        self._end = memoryview(bytearray(len(_END)))
        self.agree(_LEAST_BYTES)

    def agree(self, frame_bytes: int) -> None:
        """How long a frame may be from now on."""
        self._payload_bytes = frame_bytes - _HEAD.size - len(_END)
        self._plain = memoryview(bytearray(self._payload_bytes))

    def shut(self) -> None:
        """End both directions, also for a thread that waits. Harmless when repeated."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # past TLS, which no two threads may use at a time
        except OSError:
            return

    def close(self) -> None:
        self._sock.close()

    # ---- sending -------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        self._send([ProtocolHeader().marshal()], _ignore)

    def send(self, method: Frame, channel: int = 0) -> None:
        self._send([marshal(method, channel)], _ignore)

    def send_content(
        self,
        method: Frame,
        properties: commands.Basic.Properties,
        body: memoryview,
        *,
        channel: int,
        on_input: Callable[[], None],
    ) -> None:
        """Send a method with its body; `on_input` is called for what comes while the other side takes nothing."""
        header = ContentHeader(body_size=len(body), properties=properties)
        pieces: list[Piece] = [marshal(method, channel) + marshal(header, channel)]
        for start in range(0, len(body), self._payload_bytes):
            part = body[start : start + self._payload_bytes]
            pieces += [_HEAD.pack(BODY, channel, len(part)), part, _END]
        self._send(pieces, on_input)

    def _send(self, pieces: list[Piece], on_input: Callable[[], None]) -> None:
        over_tls = isinstance(self._sock, ssl.SSLSocket)
        left: list[Piece] = [memoryview(b"".join(pieces))] if over_tls else pieces
        while left:
            try:
                n_sent = self._sock.send(left[0]) if over_tls else self._sock.sendmsg(left[:_MOST_AT_ONCE])
            except (BlockingIOError, ssl.SSLWantWriteError):
                if not self._wait(select.POLLIN | select.POLLOUT) & select.POLLOUT:
                    on_input()
                continue
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
                continue
            except OSError as error:
                raise ConnectionLost(f"the connection for bulk was lost: {error}") from error
            left = _after(left, n_sent)

    # ---- receiving -----------------------------------------------------------------------------------------------

    def ready(self, timeout_s: float | None) -> bool:
        """Whether a frame begins to come within that time."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        return bool(self._wait(select.POLLIN, timeout_s))

    def receive(self, room: memoryview | None = None) -> tuple[int, int, memoryview]:
        """Type, channel and payload of the next frame; that of a body is in `room` if given, else good until the next.

        Raises `ConnectionLost`, also for a body that `room` does not hold.
        """
        self._exactly(self._head)
        kind, channel, size = _HEAD.unpack(self._head)
        into = self._plain if room is None or kind != BODY else room
        if size > len(into):
            raise ConnectionLost(f"a frame of type {kind} with {size} bytes came, {len(into)} were expected at most")
        payload = into[:size]
        self._exactly(payload)
        self._exactly(self._end)
        if bytes(self._end) != _END:
            raise ConnectionLost(f"a frame of type {kind} with {size} bytes does not end where it should")
        return kind, channel, payload

    def _exactly(self, into: memoryview) -> None:
        while len(into):
            try:
                n_received = self._sock.recv_into(into)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
                continue
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
                continue
            except OSError as error:
                raise ConnectionLost(f"the connection for bulk was lost: {error}") from error
            if not n_received:
                raise ConnectionLost("the connection for bulk was closed")
            into = into[n_received:]

    def _wait(self, events: int, timeout_s: float | None = None) -> int:
        """Which of these may be done now; 0 if none within that time."""
        self._poll.register(self._sock, events)
        found = self._poll.poll(None if timeout_s is None else timeout_s * 1000.0)
        return found[0][1] if found else 0


def method_of(payload: memoryview) -> Frame:
    frame = unmarshal(_HEAD.pack(METHOD, 0, len(payload)) + bytes(payload) + _END)[2]
    assert isinstance(frame, Frame), "a method frame holds a method"
    return frame


def header_of(payload: memoryview) -> ContentHeader:
    frame = unmarshal(_HEAD.pack(HEADER, 0, len(payload)) + bytes(payload) + _END)[2]
    assert isinstance(frame, ContentHeader), "a header frame holds a header"
    return frame


def _after(pieces: list[Piece], n_sent: int) -> list[Piece]:
    """What is left to send."""
    for place, piece in enumerate(pieces):
        if n_sent < len(piece):
            return [memoryview(piece)[n_sent:], *pieces[place + 1 :]]
        n_sent -= len(piece)
    return []


def _ignore() -> None:
    """Whoever sends a short frame reads what comes afterwards."""
