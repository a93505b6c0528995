"""Close the connections of viewers who are no longer who they were when they connected."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Self

from ..authentication.tables import users_in, viewer_columns
from ..background import BackgroundTask
from ..changes.change import Change
from ..changes.feed import Feed
from ..database.calls import run
from ..exceptions import first_line
from ..histogram import Histogram
from ..viewer import InvalidCredentialError
from .clients import Clients
from .connection import CHANGED, EXPIRED, Connection, is_same

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
"""How long changes are gathered for one review."""
LATE_SECONDS = 6.0
"""A second review comes after so long, for clients that were connecting at the first."""
PAUSE_FACTOR = 20
"""The next review of everybody comes this many times the length of the last one later."""
MAX_PAUSE_SECONDS = 5.0
RETRY_SECONDS = 1.0
MAX_CONNECTIONS_AT_ONCE = 100


@dataclass
class Concerned:
    """Whom changes concern, by what changed."""

    sessions: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    """Their primary keys as text."""
    groups: set[str] = field(default_factory=set)
    everybody: bool = False

    def __bool__(self) -> bool:
        return self.everybody or bool(self.sessions or self.users or self.groups)

    def add(self, about: str, key: str | None) -> None:
        """Concern the session, the user, the users of the group, or "everybody"."""
        match about, key:
            case "session", str():
                self.sessions.add(key)
            case "user", str():
                self.users.add(key)
            case "group", str():
                self.groups.add(key)
            case _:
                self.everybody = True

    def update(self, other: "Concerned") -> None:
        """Concern all of these, too."""
        self.sessions |= other.sessions
        self.users |= other.users
        self.groups |= other.groups
        self.everybody |= other.everybody


class Revocation:
    """Reviews the signed-in clients whom changes of `VIEWER_MODELS` concern.

    An asynchronous context manager. The connection of a viewer who has signed out, was deactivated,
    or has other rights than before is closed with 4403; the client may come back with the rights of
    then. Who signs in elsewhere makes nobody else be reviewed.
    """

    def __init__(self, feed: Feed, clients: Clients) -> None:
        self._feed = feed
        self._clients = clients
        self.columns: dict[str, tuple[str, str]] = {}
        """What a row tells of a viewer, by table."""
        self.concerned = Concerned()
        """Who will be reviewed."""
        self.reviewed = 0
        """How many connections it has looked at."""
        self.seconds: Final = Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
        """How long reviews of somebody took."""
        self._is_due = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.columns = viewer_columns()
        self._feed.observers.append(self.observe)
        self._task = BackgroundTask(self._run(), name="revocation")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._feed.observers.remove(self.observe)
        await self._task.stop()

    def observe(self, changes: list[Change] | None) -> None:
        """Take note of whom the changes concern; None is everybody."""
        if changes is None:
            self.concerned.everybody = True
        for change in changes or ():
            if found := self.columns.get(change.table):
                about, column = found
                is_told = column in change.columns
                key = change.values[change.columns.index(column)] if is_told else None
                self.concerned.add(about, key)
        if self.concerned:
            self._is_due.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        late: list[tuple[float, Concerned]] = []
        pause_ends_at = 0.0
        is_postponed = False
        while True:
            dues = [late[0][0]] if late else []
            dues += [pause_ends_at] if is_postponed else []
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(dues, default=None)):
                    await self._is_due.wait()
            await asyncio.sleep(BATCH_SECONDS)
            fresh, self.concerned = self.concerned, Concerned()
            self._is_due.clear()
            concerned = Concerned()
            concerned.update(fresh)
            while late and late[0][0] <= loop.time():
                concerned.update(late.pop(0)[1])
            if fresh:
                late.append((loop.time() + LATE_SECONDS, fresh))
            # Who is concerned by name need not wait until everybody can be reviewed again.
            everybody = concerned.everybody or is_postponed
            is_postponed = everybody and loop.time() < pause_ends_at
            concerned.everybody = everybody and not is_postponed
            if not concerned:
                continue
            started_at = loop.time()
            try:
                if again := await self._review(concerned):
                    self.concerned.update(again)
                    self._is_due.set()
                    await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                logger.warning("Viewers could not be reviewed, trying again: %s", first_line(error))
                self.concerned.update(concerned)
                self._is_due.set()
                await asyncio.sleep(RETRY_SECONDS)
            if concerned.everybody:
                pause = PAUSE_FACTOR * (loop.time() - started_at)
                pause_ends_at = loop.time() + min(MAX_PAUSE_SECONDS, pause)

    async def _review(self, concerned: Concerned) -> Concerned:
        """Review them. Return those of whom it could not be found out who they are.

        Raise what was wrong if that is so of all who are looked at together.
        """
        began = monotonic()
        connections = _in_order(await self._connections(concerned))
        failed: list[tuple[Connection, BaseException]] = []
        for start in range(0, len(connections), MAX_CONNECTIONS_AT_ONCE):
            some = connections[start : start + MAX_CONNECTIONS_AT_ONCE]
            results = await asyncio.gather(*map(self._look_at, some), return_exceptions=True)
            errors = [(c, e) for c, e in zip(some, results, strict=True) if e is not None]
            if len(errors) == len(some):
                raise errors[0][1]
            failed += errors
        if connections:
            self.reviewed += len(connections)
            self.seconds.observe(monotonic() - began)
        if failed:
            message = "%d viewers could not be reviewed, trying again: %s"
            logger.warning(message, len(failed), failed[0][1])
        again = Concerned()
        for connection, _ in failed:
            session = connection.session
            again.add(*(("session", session.key) if session.key else ("user", str(session.user))))
        return again

    async def _look_at(self, connection: Connection) -> None:
        """Close the connection if it is not of the same viewer any more."""
        credentials = connection.credentials
        try:
            session = await self._clients.authentication.session(credentials)
        except InvalidCredentialError:
            session = None
        if connection.credentials is not credentials:
            return  # It has just shown others.
        if session is not None and is_same(connection.session, session):
            connection.session = session  # which may last longer now
        else:
            connection.close(EXPIRED if connection.has_expired else CHANGED)

    async def _connections(self, concerned: Concerned) -> Iterable[Connection]:
        if concerned.everybody:
            return self._clients.signed_in()
        users = concerned.users
        if concerned.groups:
            users = users | await run(users_in, concerned.groups)
        return self._clients.signed_in(concerned.sessions, users)


def _in_order(connections: Iterable[Connection]) -> list[Connection]:
    """Return connections in the order of review: nobody waits for a viewer with very many."""
    before: Counter[Any] = Counter()
    rank: dict[Connection, int] = {}
    for connection in connections:
        user = connection.session.user
        rank[connection] = before[user]
        before[user] += 1
    return sorted(rank, key=rank.__getitem__)
