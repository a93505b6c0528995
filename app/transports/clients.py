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
PARTS = 20
"""Clients are checked in so many parts: all at once would keep the event loop from the others."""
RESTART: Final = Close(1012, "Service restart")


class Client(Protocol):
    """Who is connected, over whatever transport."""

    @property
    def connection(self) -> Connection:
        """What is read from and written to."""
        ...

    def check(self, now: float) -> None:
        """Keep the connection alive, or close it if the client fails to do its part.

        `now` is the event loop's time.
        """
        ...


class Clients:
    """Looks at each connected client every `CHECK_SECONDS`.

    An asynchronous context manager. One task for all, since a timer for each costs more than
    what it watches.
    """

    def __init__(self, max_connections: int, authentication: Authentication) -> None:
        self.authentication: Final = authentication
        """Tells who they are."""
        self._max_connections = max_connections
        self._parts: tuple[set[Client], ...] = tuple(set() for _ in range(PARTS))
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
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Client]:
        return iter([client for part in self._parts for client in part])

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
        self._part(client).add(client)
        self._enter(client.connection)

    def discard(self, client: Client) -> None:
        """Look after the client no longer."""
        self._part(client).discard(client)
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
        begun, checked = loop.time(), 0
        while True:
            await asyncio.sleep(CHECK_SECONDS / PARTS)
            # By the clock: while somebody floods the event loop, several are due at once.
            due = int((loop.time() - begun) / CHECK_SECONDS * PARTS)
            for number in range(max(checked, due - PARTS), due):
                self._check(self._parts[number % PARTS])
            checked = max(checked, due)

    def _check(self, part: set[Client]) -> None:
        # A function of its own, so that no variable keeps the last client while the task sleeps.
        now = asyncio.get_running_loop().time()
        for client in list(part):
            client.check(now)

    def _part(self, client: Client) -> set[Client]:
        return self._parts[hash(client) % PARTS]
