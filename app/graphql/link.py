"""Read from a client and write to it at the same time, until either ends or somebody closes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, Self

from starlette.types import Send

from app.graphql.outbox import Outbox

CHECK_SECONDS = 1.0
CLOSE_SECONDS = 1.0


class CloseError(Exception):
    """The connection must be closed with this WebSocket close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Link:
    """The tasks of one connected client, and its outbox."""

    def __init__(self) -> None:
        self.outbox: Final = Outbox()
        self._reader: asyncio.Task[Any] | None = None
        self._end: CloseError | None = None

    async def run(
        self, read: Coroutine[Any, Any, None], send: Callable[[str], Awaitable[None]]
    ) -> CloseError | None:
        """Await `read` while the outbox is written with `send`.

        Answers with how the connection is to be closed, or None if the client has closed it.
        """
        self._reader = asyncio.current_task()
        writer = asyncio.create_task(self.outbox.write(send))
        # It ends only by failing: the client has gone.
        writer.add_done_callback(lambda _: self.close(1006, "Write failed"))
        try:
            await read
        except CloseError as error:
            self._end = error
        except asyncio.CancelledError:
            if self._end is None or self._reader is None:
                raise
            self._reader.uncancel()
        finally:
            self._reader = None
            writer.cancel()
            await asyncio.wait((writer,))
            if not writer.cancelled() and not isinstance(writer.exception(), OSError):
                writer.result()
        return self._end

    def close(self, code: int, reason: str) -> None:
        """End the connection from outside of its reader."""
        if self._reader is not None and self._end is None:
            self._end = CloseError(code, reason)
            self._reader.cancel()

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Whether the client has left a message unread for `seconds`."""
        since = self.outbox.writing_since
        return since is not None and now - since > seconds


class Supervised(Protocol):
    """A connection that wants to be looked at regularly."""

    def check(self, now: float) -> None:
        """Keep the connection alive, or close it if the client fails to do its part."""
        ...


class Connections:
    """All clients connected to this process; looks at each of them every second.

    One task for all, since a timer for each costs more than what it watches.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Supervised] = set()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether no more clients may connect."""
        return len(self._open) >= self._most

    def add(self, connection: Supervised) -> None:
        """Look after the connection from now on."""
        self._open.add(connection)

    def discard(self, connection: Supervised) -> None:
        """Look after the connection no longer."""
        self._open.discard(connection)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._check(), name="connections")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = loop.time()
            for connection in list(self._open):
                connection.check(now)


def abort(send: Send) -> None:
    """Cut the connection that the ASGI server's `send` writes to.

    ASGI has no word for it, and closing waits until the client has read what is buffered, which
    a client that is closed for not reading never does. Does nothing on a server that hides its
    transport; there, TCP gives up in the end.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
