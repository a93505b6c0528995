"""Read from a client and write to it at the same time, until either ends or somebody closes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Message, Receive, Send

from ..exceptions import LiveError
from ..graphql.budgets import Account
from ..viewer import Credentials, Session
from .outbox import Outbox, Write

CLOSE_TIMEOUT_SECONDS = 1.0
# uvicorn answers WebSocket pings by itself, also of a client that does not read the answers.
MAX_UNREAD_PONG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection is closed: by the server, with a WebSocket close code and a reason."""

    code: int
    reason: str


class CloseError(LiveError):
    """Raised while reading: the connection must be closed in this way."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.close: Final = Close(code, reason)


TOO_SLOW: Final = Close(1008, "Too slow: what was sent is not being read")
EXPIRED: Final = Close(4403, "Forbidden: the session has expired")
CHANGED: Final = Close(4403, "Forbidden: the viewer has changed")


class Connection:
    """One connected client: who it is, its reading task, and its outbox."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        credentials: Credentials,
        session: Session,
        account: Account,
    ) -> None:
        self.credentials = credentials
        self.session = session
        self.account = account
        self.is_direct: Final = server_transport(send) is not None
        """Whether nothing that looks at messages is between here and the server."""
        self.outbox: Final = Outbox(is_eager=self.is_direct)
        self._transport = server_transport(receive)
        self._reader: asyncio.Task[Any] | None = None
        self._is_closing = False
        self._close: Close | None = None
        self._failure: Exception | None = None

    async def run(
        self,
        read: Coroutine[Any, Any, None],
        send: Callable[[bytes], Awaitable[None]],
        write: Write | None = None,
    ) -> Close | None:
        """Await `read` while the outbox is written with `send`, and `write` where that can.

        Return how the connection is to be closed, or None if the client has closed it.
        """
        self._reader = asyncio.current_task()
        try:
            self.outbox.open(send, self._fail, write)
            await read
        except CloseError as error:
            self._close = error.close
        except asyncio.CancelledError:
            if self._reader is None or not self._is_closing or self._reader.uncancel() > 0:
                raise
        finally:
            self._reader = None
            await self.outbox.close()
        if self._failure is not None:
            raise self._failure
        return self._close

    def close(self, close: Close | None) -> None:
        """End the connection from outside of its reader; None if the client has gone already."""
        if self._reader is not None and not self._is_closing:
            self._is_closing = True
            self._close = close
            self._reader.cancel()

    def close_if_due(self, now: float, send_seconds: float) -> bool:
        """Close the connection if its client is stuck, or its session has expired.

        `now` is the event loop's time. Return whether the connection closes.
        """
        if self.is_stuck(now, send_seconds):
            self.close(TOO_SLOW)
        elif self.has_expired:
            self.close(EXPIRED)
        else:
            return False
        return True

    def quiet_seconds(self, send_seconds: float) -> float:
        """For how long neither can become so; or be by more than a quarter of its time."""
        if self.outbox.writing_since is not None:
            return 0.0
        return min(self.session.expires_at - time.time(), send_seconds / 4)

    @property
    def has_expired(self) -> bool:
        """Whether the session ended since it was last looked at."""
        return time.time() > self.session.expires_at

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Whether the client has left a message unread for `seconds`, or too many pongs."""
        since = self.outbox.writing_since
        if since is not None and now - since > seconds:
            return True
        limit = self.outbox.longest + MAX_UNREAD_PONG_BYTES
        return self._transport is not None and self._transport.get_write_buffer_size() > limit

    async def finish(self, send: Send, last: Message) -> None:
        """Send the last message; cut the connection of a client that does not read it."""
        try:
            async with asyncio.timeout(0 if self._close is TOO_SLOW else CLOSE_TIMEOUT_SECONDS):
                await send(last)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
        except (OSError, RuntimeError):
            pass  # Gone, see _fail.

    def _fail(self, error: Exception) -> None:
        # The client has gone. uvicorn raises RuntimeError when it was itself that closed: after
        # broken UTF-8, say, or a WebSocket ping without an answer.
        if not isinstance(error, (OSError, RuntimeError)):
            self._failure = error
        self.close(None)


def is_same(before: Session, after: Session) -> bool:
    """Whether a connection may go on, since it is still of the same viewer."""
    return before.viewer == after.viewer and before.user == after.user


def server_transport(call: Receive | Send) -> asyncio.Transport | None:
    """The transport of the server whose own `receive` or `send` this is; None if it is wrapped.

    ASGI has no word for cutting a connection, and closing waits until the client has read what
    is buffered, which a client that is closed for not reading never does.
    """
    return getattr(getattr(call, "__self__", None), "transport", None)
