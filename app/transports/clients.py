"""All clients connected to this process: counted, kept alive, and closed when the process ends."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Final, Protocol, Self

from ..authentication.asking import Authentication
from ..background import BackgroundTask
from ..viewer import Credentials, Session
from .connection import Close, Connection
from .shutdown import before_stop

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""Between two looks at a client of whom something is awaited."""
MAX_QUIET_SECONDS = 3600.0
TICK_SECONDS = 0.2
"""Clients are checked in small parts: all at once would keep the event loop from the others."""
RESTART: Final = Close(1012, "Service restart")


class Client(Protocol):
    """Who is connected, over whatever transport."""

    @property
    def connection(self) -> Connection:
        """What is read from and written to."""
        ...

    def check(self, now: float) -> float:
        """Keep the connection alive, or close it if the client fails to do its part.

        `now` is the event loop's time. Return after how many seconds to look again.
        """
        ...


class Clients:
    """Looks at each connected client from time to time.

    An asynchronous context manager. One task for all, since a timer for each costs more than
    what it watches; and seldom at those of whom nothing is awaited, since to look at ten thousand
    each second costs as much as some thousands of messages.
    """

    def __init__(self, max_connections: int, authentication: Authentication) -> None:
        self.authentication: Final = authentication
        """Tells who they are."""
        self._max_connections = max_connections
        self._ticks: dict[Client, int] = {}
        """Who is connected, and at which tick to look at them."""
        self._due: dict[int, set[Client]] = {}
        """The same by ticks."""
        self._tick = 0
        """The first that is not over."""
        self._by_session: dict[str, set[Connection]] = {}
        self._by_user: dict[str, set[Connection]] = {}
        self._sent_to_others = self._dropped_of_others = 0
        self.opened = 0
        """How many have connected."""
        self.closed: Final = Counter[int]()
        """How many the server has closed, by code."""
        self.is_stopping = False
        """Whether the process has been told to stop."""
        self._task: BackgroundTask | None = None
        self._signals = ExitStack()

    def __len__(self) -> int:
        return len(self._ticks)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._ticks))

    @property
    def refusal(self) -> str | None:
        """Why no more clients may connect; None if they may."""
        if self._task is None:
            return "The server runs with its lifespan off, so nothing is live. Turn it on."
        if self.is_stopping:
            return "The server stops. Try again later."
        if len(self) >= self._max_connections:
            return "Too many connections. Try again later."
        return None

    @property
    def sent(self) -> int:
        """How many messages this process has sent to clients, those who have left included."""
        return self._sent_to_others + sum(each.connection.outbox.sent for each in self)

    @property
    def dropped(self) -> int:
        """How many results were not sent, since newer ones came before their clients read."""
        return self._dropped_of_others + sum(each.connection.outbox.dropped for each in self)

    def add(self, client: Client) -> None:
        """Look after the client from now on."""
        self.opened += 1
        self._look_in(client, CHECK_SECONDS)
        self._enter(client.connection)

    def discard(self, client: Client) -> None:
        """Look after the client no longer."""
        self._look_no_more(client)
        self._leave(client.connection)
        self._sent_to_others += client.connection.outbox.sent
        self._dropped_of_others += client.connection.outbox.dropped

    def identify(self, connection: Connection, credentials: Credentials, session: Session) -> None:
        """Note who one of them is now."""
        self._leave(connection)
        connection.credentials, connection.session = credentials, session
        self._enter(connection)

    def signed_in(
        self, sessions: Iterable[str] | None = None, users: Iterable[str] = ()
    ) -> set[Connection]:
        """The connections of these sessions, and of users with these keys; by default, all."""
        if sessions is None:
            return set().union(*self._by_user.values())
        found = [self._by_session.get(key, set()) for key in sessions]
        found += [self._by_user.get(key, set()) for key in users]
        return set().union(*found)

    def _enter(self, connection: Connection) -> None:
        for by_key, key in self._places(connection):
            by_key.setdefault(key, set()).add(connection)

    def _leave(self, connection: Connection) -> None:
        for by_key, key in self._places(connection):
            by_key[key].discard(connection)
            if not by_key[key]:
                del by_key[key]

    def _places(self, connection: Connection) -> Iterator[tuple[dict[str, set[Connection]], str]]:
        session = connection.session
        if session.key:
            yield self._by_session, session.key
        if session.user is not None:
            yield self._by_user, str(session.user)

    async def __aenter__(self) -> Self:
        self._signals.enter_context(before_stop(self._stop))
        self._task = BackgroundTask(self._check_always(), name="clients")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signals.close()
        if self._task is not None:
            await self._task.stop()

    def _stop(self) -> None:
        # Without it, the server waits for event streams, which have no end of their own.
        if not self.is_stopping:
            logger.info("The server stops, and closes %d WebSockets and event streams.", len(self))
        self.is_stopping = True
        for client in self:
            client.connection.close(RESTART)

    async def _check_always(self) -> None:
        loop = asyncio.get_running_loop()
        begun, before = loop.time(), self._tick
        while True:
            await asyncio.sleep(TICK_SECONDS)
            # By the clock: while somebody floods the event loop, several are due at once.
            tick = before + int((loop.time() - begun) / TICK_SECONDS)
            while self._tick < tick:
                self._tick += 1
                self._check(self._due.get(self._tick - 1, ()))

    def _check(self, due: Iterable[Client]) -> None:
        # A function of its own, so that no variable keeps the last client while the task sleeps.
        now = asyncio.get_running_loop().time()
        for client in list(due):
            seconds = client.check(now)
            self._look_no_more(client)
            self._look_in(client, max(seconds, CHECK_SECONDS))

    def _look_in(self, client: Client, seconds: float) -> None:
        # A setting may be infinite, or no number.
        wait = min(MAX_QUIET_SECONDS, seconds)
        tick = self._tick + max(1, int(wait / TICK_SECONDS))
        self._ticks[client] = tick
        self._due.setdefault(tick, set()).add(client)

    def _look_no_more(self, client: Client) -> None:
        tick = self._ticks.pop(client)
        self._due[tick].discard(client)
        if not self._due[tick]:
            del self._due[tick]
