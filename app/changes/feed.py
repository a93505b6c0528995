"""Wake every source whose tables a commit, of whatever process, has changed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol, Self
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.models import Model

from ..background import BackgroundTask, Backoff
from .live_models import live_models
from .postgresql import PostgreSQLBackend
from .sqlite import SQLiteBackend

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """How one kind of database tells of its commits."""

    @property
    def silent_tables(self) -> frozenset[str]:
        """The live tables whose changes the database does not tell at the moment."""
        ...

    def changes(self) -> AsyncIterator[frozenset[str] | None]:
        """Connect, then yield the tables each commit changed; None for "perhaps all".

        The first item after connecting is always None, since nobody knows what happened before.
        Ends by raising when the connection is lost.
        """
        ...


class Watch:
    """An endless async iterator: once at once, then once after each change, bursts as one."""

    def __init__(self, tables: frozenset[str]) -> None:
        self.tables = tables
        self._changed = asyncio.Event()
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def wake(self) -> None:
        """Let the next `__anext__` return at once."""
        self._changed.set()


class Feed:
    """The process's one listener for changes in the database `using`.

    An asynchronous context manager: within it, the feed follows the database.
    """

    def __init__(self, backend: Backend, using: str = DEFAULT_DB_ALIAS) -> None:
        self.is_connected = False
        self.backend = backend
        self._using = using
        # A source that ends drops its watch; nobody has to sign off.
        self._watches: WeakSet[Watch] = WeakSet()

    def watch(self, *models: type[Model]) -> Watch:
        """An async iterator that yields now, and again after each commit that wrote to `models`.

        Changes count from this call on. Raises ImproperlyConfigured for a model that is not
        named in `LIVE_MODELS`, or that lives in another database than the feed's.
        """
        live = live_models()
        for model in models:
            if model not in live:
                raise ImproperlyConfigured(
                    f"watch({model.__name__}): changes of {model._meta.label} are not announced. "
                    f'Add "{model._meta.label}" to LIVE_MODELS and run migrate.'
                )
            if (alias := router.db_for_read(model)) != self._using:
                raise ImproperlyConfigured(
                    f"watch({model.__name__}): {model._meta.label} is read from the database "
                    f"{alias!r}, but this feed listens to {self._using!r}."
                )
        watch = Watch(frozenset(model._meta.db_table for model in models))
        self._watches.add(watch)
        return watch

    def announce(self, tables: frozenset[str] | None) -> None:
        """Wake who watches one of `tables`; all, if None."""
        for watch in self._watches:
            if tables is None or not tables.isdisjoint(watch.tables):
                watch.wake()

    async def __aenter__(self) -> Self:
        self._task = BackgroundTask(self._run(), name="change feed")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        """Follow the database for ever; whatever fails is tried again, less and less often."""
        backoff = Backoff(first_seconds=0.2)
        while True:
            try:
                async for tables in self.backend.changes():
                    if not self.is_connected:
                        logger.info("Change feed: listening.")
                        self.is_connected = True
                        backoff.reset()
                    self.announce(tables)
            except Exception as error:
                if self.is_connected or not backoff.attempt:
                    logger.warning("Change feed: lost the database, reconnecting. %s", error)
                self.is_connected = False
                await backoff.pause()


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
