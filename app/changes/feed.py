"""Wake the sources whose queries a commit, of whatever process, concerns; and no others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextvars import ContextVar
from itertools import count as numbers
from time import monotonic
from typing import Any, Protocol, Self

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model, QuerySet

from ..activity import ACTIVITY, EVERYTHING
from ..background import BackgroundTask, Backoff
from ..exceptions import LiveError, first_line
from ..turns import IS_EXPENSIVE, Turn, Turns
from .change import Change
from .conditions import Dependency, dependencies
from .hearing import Hearing
from .index import Index
from .live_models import live_models
from .postgresql import PostgreSQLBackend
from .replica import Replica
from .replicas import Replicas, replicas_of
from .routing import READING, begin_reading, reading_primary
from .sqlite import SQLiteBackend

logger = logging.getLogger(__name__)

SUBSCRIPTION: ContextVar[str] = ContextVar("SUBSCRIPTION", default="A subscription")
"""What the log calls those who wait."""

Source = QuerySet[Any] | type[Model]
"""What to wait for: all that a queryset reads, or any row of a model."""

SOURCES_AT_ONCE = 16
"""So many look at a time; else a change that concerns all would keep the database from others."""
MANY = 100
"""So many subscriptions that are woken by every change of a table are worth a warning."""


NUMBERS = numbers()
"""Of watches, to spread them over replicas."""


class Backend(Protocol):
    """How one kind of database tells of its commits."""

    @property
    def is_precise(self) -> bool:
        """Whether it tells which rows have changed."""
        ...

    @property
    def silent_tables(self) -> frozenset[str]:
        """The live tables whose changes the database does not tell at the moment."""
        ...

    @property
    def hearing(self) -> Hearing:
        """How well it hears."""
        ...

    def check(self) -> None:
        """Raise ImproperlyConfigured if the database cannot be followed at all."""
        ...

    def changes(self) -> AsyncIterator[list[Change] | None]:
        """Connect, then yield what has changed; None for "perhaps everything".

        The first item after connecting is always None, since nobody knows what happened before.
        Ends by raising when the connection is lost.
        """
        ...


class Watch:
    """An endless async iterator: once at once, then after each change that concerns its query.

    Many changes count as one. Whoever drops a watch need not sign off.
    """

    def __init__(
        self, feed: "Feed", dependencies: list[Dependency], querysets: list[QuerySet[Any]]
    ) -> None:
        self._feed = feed
        self._waiter = Waiter(feed.turns)
        self._fixed = dependencies
        self._querysets = querysets
        self._changing: list[Dependency] = []
        self._activity = ACTIVITY.get()
        self._tell_activity()
        self._number = next(NUMBERS)
        feed.index.add(self._waiter, self._fixed)
        feed.waiters.add(self._waiter)
        feed.tell_of(self._fixed)

    def also(self, *sources: Source) -> None:
        """Wait for these as well, in place of what the last call named.

        For rows that are visible by way of others: in each round, read first those others, the
        viewer's teams say, then name the query for what they lead to, then await it. A change in
        between counts. Raises as `Feed.watch` does.
        """
        found = self._feed.dependencies(sources)
        if found != self._changing:
            self._feed.index.add(self._waiter, found)
            self._feed.index.discard(self._waiter, self._changing)
            self._changing = found
            self._tell_activity()
            self._feed.tell_of([*self._fixed, *found])
            replica, replicas = self._waiter.replica, self._feed.replicas
            if replica and replicas and not replica.shows(replicas.position):
                # Of what was announced before this call, nobody would tell.
                self._waiter.wake(monotonic())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        if self._activity is not None:
            self._activity.close()  # Nothing has come of the last round.
        self._waiter.end_turn()
        await self._waiter.wait()
        if self._feed.replicas is None:
            await self._waiter.begin_turn()
            self._waiter.is_due = False
        else:
            await self._begin_turn(self._feed.replicas)
        woken_at, tables = self._waiter.take_cause()
        if self._activity is not None:
            self._activity.begin(woken_at, tables)
        for queryset in self._querysets:
            # Who iterates over the very queryset that was named would get the first rows for ever.
            queryset._result_cache = None
            queryset._prefetch_done = False  # type: ignore[attr-defined]  # not in the stubs

    async def _begin_turn(self, replicas: Replicas) -> None:
        """Begin a turn whose queries go to a server that shows all that was announced by now."""
        # What is announced from here on may not be shown there, and so is for another round.
        reading = READING.get() or begin_reading()
        waiter, position = self._waiter, replicas.position
        waiter.is_due = False
        try:
            replica = None if reading.avoids_replicas else await replicas.choose(self._number)
            await waiter.begin_turn()
        except BaseException:
            waiter.is_due = True
            raise
        if replica is not None and not replica.shows(position):
            replica = None  # It was lost meanwhile.
        if replica is None or replica.shows(replicas.position):
            waiter.is_due = False
        waiter.replica = replica
        reading.replica = replica.alias if replica else None

    def _tell_activity(self) -> None:
        if self._activity is not None:
            self._activity.waits_for[id(self)] = (*self._fixed, *self._changing)

    def __del__(self) -> None:
        self._waiter.end_turn()
        if self._activity is not None:
            self._activity.waits_for.pop(id(self), None)
        self._feed.index.discard(self._waiter, (*self._fixed, *self._changing))
        self._feed.waiters.discard(self._waiter)


class Waiter:
    """What the index holds of a watch, so that it does not keep the watch itself.

    There are very many, and an `asyncio.Event` for each would be most of their memory.
    """

    __slots__ = ("_changed", "_tables", "_turn", "_turns", "_woken_at", "is_due", "replica")

    def __init__(self, turns: Turns) -> None:
        self.is_due = True
        """Whether something has changed that nobody has looked at yet."""
        self.replica: Replica | None = None
        """What its last round has read; None: the primary."""
        self._changed: asyncio.Future[None] | None = None
        self._woken_at: float | None = None
        self._tables = EVERYTHING
        self._turns = turns
        self._turn: Turn | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether its source has looked at all that it was woken for."""
        return self._changed is not None and not self._changed.done()

    def wake(self, now: float, tables: frozenset[str] = EVERYTHING) -> None:
        """Tell the watch of a change in some of these tables."""
        if self._woken_at is None:
            self._woken_at, self._tables = now, tables
        elif self._tables is not tables:
            # Where one may be of any table, nothing is told of the others.
            is_known = self._tables and tables
            self._tables = self._tables | tables if is_known else EVERYTHING
        self.is_due = True
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def wait(self) -> None:
        """Wait until there is a change to look at."""
        if not self.is_due:
            self._changed = asyncio.get_running_loop().create_future()
            try:
                await self._changed
            finally:
                self._changed = None

    def take_cause(self) -> tuple[float | None, frozenset[str]]:
        """Return since when there was something to look at, by `monotonic`, and in which tables."""
        woken_at = self._woken_at
        if not self.is_due:
            self._woken_at = None
        return woken_at, self._tables

    async def begin_turn(self) -> None:
        """Wait until it is this one's turn to work."""
        self._turn = await self._turns.begin("sources", is_expensive=IS_EXPENSIVE.get())

    def end_turn(self) -> None:
        """Let the next begin."""
        if self._turn is not None:
            self._turn.end()
            self._turn = None


class Feed:
    """The process's one listener for changes in the database `using`.

    An asynchronous context manager: within it, the feed follows the database. Entering it raises
    ImproperlyConfigured for one that cannot be followed.
    """

    def __init__(self, backend: Backend, using: str = DEFAULT_DB_ALIAS) -> None:
        self.is_connected = False
        self.wakes = 0
        """How often a watch was woken."""
        self.reconnects: int = 0
        """How often the database was lost, or its changes could not be told apart any more."""
        self.backend = backend
        self.index: Index[Waiter] = Index()
        self.waiters: set[Waiter] = set()
        self.turns = Turns(SOURCES_AT_ONCE)
        self.replicas = replicas_of(backend, using, self._forget)
        self.observers: list[Callable[[list[Change] | None], object]] = []
        """Who is told of everything: functions that neither block nor raise."""
        self._using = using
        self._warned: set[str] = set()

    def watch(self, *sources: Source) -> Watch:
        """An async iterator that yields now, and after each commit that can change a result.

        `sources` are querysets, whose rows of all their tables, joins, subqueries and prefetches
        count, and models, of which every row does. Changes count from this call on. Raises
        ImproperlyConfigured if a table is not named in `LIVE_MODELS`, lives in another database
        than the feed's, or cannot be seen in a queryset; TypeError for what is neither.
        """
        if not sources:
            raise TypeError("watch() needs a queryset or a model: what shall it wait for?")
        return Watch(self, self.dependencies(sources), _querysets(sources))

    def dependencies(self, sources: Sequence[Source]) -> list[Dependency]:
        """What the sources read. Raises as `watch` does."""
        with reading_primary():
            return self._dependencies(sources)

    def _dependencies(self, sources: Sequence[Source]) -> list[Dependency]:
        live = live_models()
        found = [each for source in sources for each in dependencies(source)]
        for model in dict.fromkeys(each.model for each in found):
            label = model._meta.label
            if model._meta.concrete_model not in live:
                raise ImproperlyConfigured(
                    f"watch(): the query reads {label}, whose changes are not announced. "
                    f'Add "{label}" to LIVE_MODELS and run migrate.'
                )
            self._check_database(label, router.db_for_read(model))
        for queryset in _querysets(sources):
            self._check_database(queryset.model._meta.label, queryset.db)
        return found

    def _forget(self, replica: Replica) -> None:
        """Let those look again who have looked there."""
        # A copy: a watch that is collected meanwhile leaves the set.
        for waiter in list(self.waiters):
            if waiter.replica is replica:
                waiter.replica = None
                waiter.wake(monotonic())

    def _check_database(self, label: str, alias: str) -> None:
        if alias != self._using:
            raise ImproperlyConfigured(
                f"watch(): {label} is read from the database {alias!r}, but this feed listens to "
                f"{self._using!r}."
            )

    def announce(self, changes: list[Change] | None) -> None:
        """Wake whom the changes concern; all, if None."""
        woken = set(self.waiters) if changes is None else self._concerned(changes)
        now, tables = monotonic(), frozenset(change.table for change in changes or ())
        for waiter in woken:
            waiter.wake(now, tables)
        self.wakes += len(woken)
        for observer in self.observers:
            observer(changes)

    def _concerned(self, changes: list[Change]) -> set[Waiter]:
        return {waiter for change in changes for waiter in self.index.find(change)}

    def tell_of(self, dependencies: list[Dependency]) -> None:
        """Log what a new watch is woken by; once for each table, if many are by every change."""
        level = logging.INFO if settings.DEBUG else logging.DEBUG
        if logger.isEnabledFor(level):
            causes = "; ".join(map(str, dependencies)) or "nothing, since it can have no row"
            way = (
                "woken by" if self.backend.is_precise else "woken by every commit; on PostgreSQL by"
            )
            logger.log(level, "%s is %s: %s.", SUBSCRIPTION.get(), way, causes)
        if not self.backend.is_precise or all(each.conditions for each in dependencies):
            return
        for table, count in self.index.waiting_for_every_change().items():
            if count >= MANY and table not in self._warned:
                self._warned.add(table)
                logger.warning(
                    "%d subscriptions are woken by every change of %s, since their queries have "
                    "no condition on a key of it.",
                    MANY,
                    table,
                )

    async def __aenter__(self) -> Self:
        self.backend.check()
        if self.replicas is not None:
            self.replicas.start()
        self._task = BackgroundTask(self._run(), name="change feed")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()
        if self.replicas is not None:
            await self.replicas.stop()

    async def _run(self) -> None:
        """Follow the database for ever; whatever fails is tried again, less and less often."""
        backoff = Backoff(first_seconds=0.2)
        while True:
            try:
                async for changes in self.backend.changes():
                    if not self.is_connected:
                        if self.replicas is not None:
                            self.replicas.begin_term()
                        logger.info("Change feed: listening.")
                        self.is_connected = True
                        backoff.reset()
                    self.announce(changes)
            except Exception as error:
                if self.is_connected or not backoff.attempt:
                    what = "begins anew" if isinstance(error, LiveError) else "lost the database"
                    logger.warning("Change feed: %s, reconnecting. %s", what, first_line(error))
                self.reconnects += self.is_connected
                self.is_connected = False
                await backoff.pause()


def _querysets(sources: Iterable[Source]) -> list[QuerySet[Any]]:
    return [each for each in sources if isinstance(each, QuerySet)]


def backend_for(using: str) -> Backend:
    """The back end that follows the database `using`."""
    match vendor := connections[using].vendor:
        case "sqlite":
            return SQLiteBackend(str(connections[using].settings_dict["NAME"]))
        case "postgresql":
            return PostgreSQLBackend(using)
        case _:
            raise ImproperlyConfigured(
                f"The change feed follows SQLite and PostgreSQL, but the database {using!r} "
                f"is {vendor}."
            )
