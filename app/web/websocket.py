"""WebSockets as uvicorn speaks them, read by small pieces and with a limit of frames."""

import asyncio
import struct
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from ..transports.websocket import EXTENSION
from .refusals import refused

PIECE_BYTES: Final = 8 * 1024
"""What is parsed in one round of the event loop: of the smallest frames it takes some 3 ms."""
MAX_FRAMES: Final = 1000
"""In `FRAMES_SECONDS`, and of one message."""
FRAMES_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 1.0


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket, in the place of uvicorn's own.

    A frame may have six bytes, so a packet has room for ten thousand: pings, say, which no
    application sees. It is closed with 1008 if it has too many of them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rest = bytearray()
        """Received, and not parsed."""
        self._is_due = False
        self._frames = 0
        self._counts_since = self.loop.time()

    def handle_connect(self, event: Request) -> None:
        """Begin to run the application, which may `write`."""
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            own: dict[object, object] = {"write": self.write, "stop_pings": self.stop_keepalive}
            self.scope["extensions"][EXTENSION] = own

    def write(self, *parts: bytes) -> int:
        """Send a text message at once, as far as the socket takes it; see `EXTENSION`.

        `send` does the same and takes four times as long, without what the kernel takes.
        """
        transport = self.transport
        if self.close_sent or not self.writable.is_set() or transport.is_closing():
            return 0
        if self.conn.extensions:  # which compress
            return 0
        frame = b"".join((_frame_head(sum(map(len, parts))), *parts))
        transport.write(frame)
        return len(frame)

    def data_received(self, data: bytes) -> None:
        """Parse, at once or piece by piece."""
        if not self._rest and len(data) <= PIECE_BYTES:
            super().data_received(data)
            return
        self._rest += data
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is not parsed."""
        self._rest.clear()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle frames, unless they are too many."""
        now = self.loop.time()
        if now - self._counts_since > FRAMES_SECONDS:
            self._frames, self._counts_since = 0, now
        self._frames += len(self.conn.events)
        if max(self._frames, len(self.frames)) > MAX_FRAMES and not self.close_sent:
            refused["TOO_MANY_FRAMES"] += 1
            self._rest.clear()
            self.conn.fail(1008, "Too many frames")
            self.handle_parser_exception()
            # Closing waits until the client has read everything, which it may never do.
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
            return
        super().handle_events()

    async def receive(self) -> Any:
        """Return the next event, and go on with what is not parsed when the last has been taken."""
        event = await super().receive()
        if self._rest:
            self._go_on()
        return event

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        if self.transport.is_reading():
            self.transport.pause_reading()
        if not self._is_due:
            self._is_due = True
            self.loop.call_soon(self._parse)

    def _parse(self) -> None:
        self._is_due = False
        if self.read_paused or self.transport.is_closing():
            return  # The application has to take what it has first; see `receive`.
        piece = bytes(self._rest[:PIECE_BYTES])
        del self._rest[:PIECE_BYTES]
        super().data_received(piece)
        self._after(is_paused=self.read_paused)

    def _after(self, *, is_paused: bool) -> None:
        if is_paused or self.transport.is_closing():
            return
        if self._rest:
            self._go_on()
        else:
            self.transport.resume_reading()


@lru_cache(maxsize=256)
def _frame_head(size: int) -> bytes:
    """What stands before a text of `size` bytes in one frame (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size)
    return struct.pack("!BBQ", 0x81, 127, size)


def limited(protocol: type[asyncio.Protocol] | None) -> type[asyncio.Protocol] | None:
    """The same with limits, if it is uvicorn's own by the library `websockets`."""
    return LimitedWebSocket if protocol is WebSocketsSansIOProtocol else protocol
