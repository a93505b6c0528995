"""HTTP as uvicorn speaks it, with an end to everything that a client can drag out.

uvicorn by itself waits for a request for ever, and reads headers of any size.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .connections import OpenConnections, open_connections
from .refusals import refused
from .websocket import limited

logger = logging.getLogger(__name__)

MAX_HEADERS: Final = 200
MAX_PIPELINED: Final = 8
"""So many requests may be sent ahead of the answer to the first."""
FIRST_SECONDS: Final = 0.5
"""When the server stops, so long it waits for the first request of a connection."""
MIN_BODY_BYTES: Final = 16 * 1024
HEAD_TOO_LARGE = "The request line and the headers are too large together."


class LimitedHTTP(HttpToolsProtocol):
    """One connection; uvicorn's option `--http` takes this class by its import path.

    The head of a request has one deadline, since an honest one is a few packets. A body has none,
    since a slow network may take minutes for a large file, but some of it must come all the time;
    how large it may be is for the application to say. Time in which the server itself does not
    read does not count. Of an answer, too, some must be read all the time. What follows a handshake
    of WebSockets is limited by `LimitedWebSocket`, and the handshake of TLS not at all.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = limited(self.ws_protocol_class)
        self._open = open_connections(config)
        self._limits = self._open.limits
        self._host: str | None = None
        self._answering: RequestResponseCycle | None = None
        self._has_large_head = False
        self._is_reading_body = False
        self._is_upgraded = False
        self._unfinished_bytes = 0
        """Come since the last piece of a body, or request: of a head, but also of a trailer."""
        self._body_bytes = 0
        """Come since `_waits_since`."""
        self._waits_since: float | None = None
        """When the client began to owe what is missing; None if that is nothing."""
        self._is_excused = False
        """Whether the server itself has not read, or not asked, since then."""
        # Most requests come in one piece, and need no timer. One that is set is left to itself,
        # and looks at the time when it fires.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait, or refuse one connection too many."""
        super().connection_made(transport)
        address = self.client[0] if self.client else None
        self._host = self._open.enter(address)
        if reason := self._open.refusal(self._host, len(self.connections)):
            self._open.warn(address, reason)
            self._refuse(503, "Too many connections are open.")
        else:
            self._wait()
            if self._open.is_stopping:
                self._wait_for_the_last(min(self.timeout_keep_alive, FIRST_SECONDS))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._answering is not None:
            # uvicorn tells the newest request only, of those that a client has sent ahead.
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._stop_timer()
        self._stop_unread_timer()
        self._open.leave(self._host)

    def data_received(self, data: bytes) -> None:
        """Parse, and look whether the client still owes something."""
        if self.transport.is_closing():  # TLS may deliver what came before.
            return
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._is_upgraded or self.transport.is_closing():
            return
        if self._unfinished_bytes > self._limits.max_head_bytes:
            # httptools copies what it has of a header with each packet: do not let it grow.
            self._refuse(431, HEAD_TOO_LARGE)
        elif self._is_reading_body or not self._is_answering:
            self._wait()

    def on_message_begin(self) -> None:
        """Begin a request. Raise ValueError, which the parser tells uvicorn, for one too many."""
        if len(self.pipeline) >= MAX_PIPELINED:
            refused["HTTP_PIPELINED"] += 1
            self.transport.close()
            raise ValueError("Too many requests were sent ahead.")
        super().on_message_begin()

    def pause_writing(self) -> None:
        """Give the client time to read some of what it has been sent."""
        super().pause_writing()
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self._limits.send_seconds, self._cut)

    def resume_writing(self) -> None:
        """Let the application send more."""
        self._stop_unread_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; closing would wait until its answer is read."""
        if self.transport.get_write_buffer_size():
            self._cut()
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Begin to stop: a proxy that keeps an idle connection may use it once more.

        It may have sent a request on it at this moment, and must not send a mutation again, as
        browsers do. So it is closed when it would have been anyway; proxies give it up before.
        """
        self._open.is_stopping = True
        # None until the first request, whatever uvicorn's type says.
        headers: list[tuple[bytes, bytes]] | None = self.headers
        if self._is_answering:
            super().shutdown()
        elif not headers:
            self._wait_for_the_last(min(self.timeout_keep_alive, FIRST_SECONDS))
        elif any(name == b"x-forwarded-for" for name, _ in headers):
            self._wait_for_the_last(self.timeout_keep_alive)
        elif not self._unfinished_bytes:
            super().shutdown()

    def _wait_for_the_last(self, seconds: float) -> None:
        """Close when the client has not used the connection for so long."""
        if self.timeout_keep_alive_task is None and not self._unfinished_bytes:
            self.timeout_keep_alive_task = self.loop.call_later(
                seconds, self.timeout_keep_alive_handler
            )

    def on_headers_complete(self) -> None:
        """Let the application answer, unless the head is too large."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_head_bytes or len(self.headers) > MAX_HEADERS:
            self._has_large_head = True
            self.app = _answer_431
        self._is_reading_body = True
        self._start_over()
        super().on_headers_complete()
        if self._open.is_stopping and self._is_answering:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count what comes."""
        self._unfinished_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait no longer."""
        self._is_reading_body = False
        self._start_over()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the socket over, but count it until it ends."""
        if self._has_large_head:
            self._refuse(431, HEAD_TOO_LARGE)
            return
        if self._is_answering:  # what uvicorn would not end when the socket does
            self._refuse(400, "A handshake must wait for the answer to the request before it.")
            return
        self._is_upgraded = True
        self._stop_timer()
        self._stop_unread_timer()
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        # Without `self`, which need not live as long as the WebSocket.
        protocol.connection_lost = partial(  # type: ignore[method-assign]
            _lose, protocol.connection_lost, self._open, self._host
        )
        if not getattr(protocol, "handshake_initiated", True):
            # What the library websockets cannot read, uvicorn does not answer, nor ever close.
            self._refuse(431, "A handshake may have 128 headers of 8 KB each.")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    @property
    def _is_answering(self) -> bool:
        # uvicorn's type is wrong here.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _start_over(self) -> None:
        self._unfinished_bytes = 0
        self._waits_since = None

    def _wait(self) -> None:
        if self._waits_since is None:
            self._waits_since = self.loop.time()
            self._body_bytes = 0
            self._is_excused = False
        if self.flow.read_paused or (self._is_answering and self.cycle.waiting_for_100_continue):
            self._is_excused = True
        limits = self._limits
        due = self._waits_since + (
            limits.body_seconds if self._is_reading_body else limits.head_seconds
        )
        if self._timer is None or due < self._timer_due:
            self._stop_timer()
            self._timer_due = due
            self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waits_since is None or self.transport.is_closing():
            return
        is_body = self._is_reading_body
        seconds = self._limits.body_seconds if is_body else self._limits.head_seconds
        if self._is_excused or (is_body and self._body_bytes >= MIN_BODY_BYTES):
            self._waits_since = None  # from now on
        elif self.loop.time() >= self._waits_since + seconds:
            self._refuse(
                408, f"The {'body' if is_body else 'head'} of the request came too slowly."
            )
            return
        self._wait()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _cut(self) -> None:
        """End the connection of a client that does not read, of which closing would wait."""
        refused["HTTP_UNREAD"] += 1
        logger.debug("%s cut off: an answer is not being read", self.client)
        self.transport.abort()

    def _refuse(self, status: int, reason: str) -> None:
        """Close, with an answer if one was asked for and none is under way."""
        refused[f"HTTP_{status}"] += 1
        logger.debug("%s closed with %d: %s", self.client, status, reason)
        if self._is_answering:
            has_begun = self.cycle.response_started or self.pipeline
            is_free = self._is_reading_body and not has_begun
        else:  # The rest of a body may come after its answer.
            is_free = not self._is_reading_body
        # Browsers open connections in advance, and would take an answer for that to a request.
        is_asked = status != 408 or self._is_reading_body or self._unfinished_bytes > 0
        if is_free and is_asked:
            head = [
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                "Content-Type: text/plain; charset=utf-8",
                f"Content-Length: {len(reason)}",
                "Connection: close",
            ]
            self.transport.write("\r\n".join([*head, "", reason]).encode())
        self.transport.close()


def _lose(
    lose: Callable[[Exception | None], None],
    connections: OpenConnections,
    host: str | None,
    exc: Exception | None,
) -> None:
    try:
        lose(exc)
    finally:
        connections.leave(host)


async def _answer_431(scope: Scope, receive: Receive, send: Send) -> None:
    answer = PlainTextResponse(HEAD_TOO_LARGE, 431, {"Connection": "close"})
    await answer(scope, receive, send)
