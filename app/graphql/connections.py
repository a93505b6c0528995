"""All clients connected to this process: kept alive, and closed when the process ends."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Protocol, Self

from app.graphql.link import CloseError, Link

CHECK_SECONDS = 1.0


class Supervised(Protocol):
    """A connection that wants to be looked at regularly."""

    @property
    def link(self) -> Link:
        """What it reads from and writes to."""
        ...

    def check(self, now: float) -> None:
        """Keep the connection alive, or close it if the client fails to do its part."""
        ...


class Connections:
    """Looks at each connected client every second.

    An asynchronous context manager. One task for all, since a timer for each costs more than
    what it watches.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Supervised] = set()
        self._sent_on_closed = 0
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._running = ExitStack()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Supervised]:
        return iter(list(self._open))

    @property
    def refusal(self) -> str | None:
        """Why no more clients may connect; None if they may."""
        if self._task is None:
            return "The server runs with its lifespan off, so nothing is live. Turn it on."
        if self._is_stopping:
            return "The server stops. Try again later."
        if len(self._open) >= self._most:
            return "Too many connections. Try again later."
        return None

    @property
    def sent(self) -> int:
        """How many messages this process has sent on connections, open and closed."""
        return self._sent_on_closed + sum(each.link.outbox.sent for each in self._open)

    def add(self, connection: Supervised) -> None:
        """Look after the connection from now on."""
        self._open.add(connection)

    def discard(self, connection: Supervised) -> None:
        """Look after the connection no longer."""
        self._open.discard(connection)
        self._sent_on_closed += connection.link.outbox.sent

    async def __aenter__(self) -> Self:
        self._running.enter_context(before_stop(self._stop))
        self._task = asyncio.create_task(self._check(), name="connections")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _stop(self) -> None:
        # Without it, the server waits for event streams, which have no end of their own.
        self._is_stopping = True
        for connection in self:
            connection.link.close(CloseError(1012, "Service restart"))

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = loop.time()
            for connection in self:
                connection.check(now)


@contextmanager
def before_stop(callback: Callable[[], None]) -> Iterator[None]:
    """Within the block, call `callback` on the event loop when a signal tells the process to stop.

    What the server does on that signal happens all the same. The lifespan protocol cannot serve
    here: it tells of the end only after all connections are closed.
    """
    loop = asyncio.get_running_loop()
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
