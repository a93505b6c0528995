"""Read from a client and write to it at the same time, until either ends or somebody closes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from starlette.types import Message, Receive, Send

from app.graphql.outbox import Outbox
from app.graphql.viewer import Session

CLOSE_SECONDS = 1.0
# uvicorn answers WebSocket pings by itself, also of a client that does not read the answers.
MOST_UNREAD_PONG_BYTES = 1024 * 1024


class CloseError(Exception):
    """The connection must be closed with this WebSocket close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


TOO_SLOW: Final = CloseError(1008, "Too slow: what was sent is not being read")
EXPIRED: Final = CloseError(4403, "Forbidden: the session has expired")


class Link:
    """One connected client: who it is, its tasks, and its outbox."""

    def __init__(self, receive: Receive, session: Session) -> None:
        self.session = session
        self.outbox: Final = Outbox()
        self._transport = _transport_behind(receive)
        self._reader: asyncio.Task[Any] | None = None
        self._is_closing = False
        self._end: CloseError | None = None

    async def run(
        self, read: Coroutine[Any, Any, None], send: Callable[[str], Awaitable[None]]
    ) -> CloseError | None:
        """Await `read` while the outbox is written with `send`.

        Answers with how the connection is to be closed, or None if the client has closed it.
        """
        self._reader = asyncio.current_task()
        writer = asyncio.create_task(self._write(send))
        try:
            await read
        except CloseError as error:
            self._end = error
        except asyncio.CancelledError:
            if self._reader is None or not self._is_closing or self._reader.uncancel() > 0:
                raise
        finally:
            self._reader = None
            writer.cancel()
            await asyncio.wait((writer,))
        if not writer.cancelled():
            writer.result()
        return self._end

    def close(self, end: CloseError | None) -> None:
        """End the connection from outside of its reader; None if the client has gone already."""
        if self._reader is not None and not self._is_closing:
            self._is_closing = True
            self._end = end
            self._reader.cancel()

    @property
    def has_expired(self) -> bool:
        """Whether the session ended since it was last looked at."""
        return time.time() > self.session.expires_at

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Whether the client has left a message unread for `seconds`, or too many pongs."""
        since = self.outbox.writing_since
        if since is not None and now - since > seconds:
            return True
        most = self.outbox.longest + MOST_UNREAD_PONG_BYTES
        return self._transport is not None and self._transport.get_write_buffer_size() > most

    async def finish(self, send: Send, farewell: Message) -> None:
        """Send the last message; cut the connection of a client that does not read it."""
        try:
            async with asyncio.timeout(0 if self._end is TOO_SLOW else CLOSE_SECONDS):
                await send(farewell)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
        except (OSError, RuntimeError):
            pass  # Gone, see _write.

    async def _write(self, send: Callable[[str], Awaitable[None]]) -> None:
        try:
            await self.outbox.write(send)
        except (OSError, RuntimeError):
            # The client has gone. uvicorn raises RuntimeError when it was itself that closed:
            # after broken UTF-8, say, or a WebSocket ping without an answer.
            self.close(None)


def _transport_behind(receive: Receive) -> asyncio.Transport | None:
    """The transport of the server whose `receive` this is; None on one that hides it.

    ASGI has no word for cutting a connection, and closing waits until the client has read what
    is buffered, which a client that is closed for not reading never does.
    """
    return getattr(getattr(receive, "__self__", None), "transport", None)
