"""Hear of commits to PostgreSQL, of whatever process: connect, and follow the table of changes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.conninfo import conninfo_to_dict

from ..exceptions import LiveError
from .change import Change
from .hearing import Hearing
from .listener import POLL_SECONDS, Listener, execute
from .triggers import CHANNEL, FIND_TRIGGERS, TABLE, missing

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10
HEARING_SECONDS = 2
TRIGGERS_SECONDS = 300.0
"""Between two looks whether the triggers are still there."""
ROWS_SECONDS = 10.0
"""Between two looks how large the table of changes is, if somebody measures."""
_COUNT_ROWS = f"""
    SELECT n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE relid = '{TABLE}'::regclass
"""  # noqa: S608 - constants
# What Django passes to a psycopg connection for its own cursors.
DJANGO_PARAMETERS = {"context", "cursor_factory", "prepare_threshold"}


class NotInstalledError(LiveError):
    """What the change feed needs in the database is not there, or may not be used."""


class PostgreSQLBackend:
    """Follows the database `using` on one connection of its own."""

    is_precise = True

    def __init__(self, using: str) -> None:
        self.silent_tables: frozenset[str] = frozenset()
        """The live tables without a trigger, by the last look at them."""
        self.hearing = Hearing()
        self.position = 0
        """In bytes of WAL: all that was told was committed before. 0 if there are no replicas."""
        self._using = using
        self._has_replicas = bool(settings.LIVE_REPLICAS) and using == DEFAULT_DB_ALIAS

    def check(self) -> None:
        """Any database can be followed; what it lacks is told while connecting."""

    async def changes(self) -> AsyncIterator[list[Change] | None]:
        """Yield None on connecting, then what each look at the table of changes has found.

        Raises NotInstalledError, ListenerLateError and psycopg's errors.
        """
        loop = asyncio.get_running_loop()
        async with await self.connect() as connection:
            await self._look_for_triggers(connection)
            listener = Listener(
                connection,
                is_notified=await self._is_notified(connection),
                tells_position=self._has_replicas,
                hearing=self.hearing,
            )
            looked_at, counted_at = loop.time(), -ROWS_SECONDS
            try:
                async for changes in listener.follow():
                    self.position = listener.position
                    yield changes
                    if self.hearing.is_measured and loop.time() - counted_at > ROWS_SECONDS:
                        counted_at = loop.time()
                        await self._count_rows(connection)
                    if loop.time() - looked_at > TRIGGERS_SECONDS:
                        looked_at, were_silent = loop.time(), self.silent_tables
                        await self._look_for_triggers(connection)
                        if were_silent - self.silent_tables:
                            yield None  # Nobody knows what happened before they spoke.
            except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
                raise NotInstalledError(
                    f"{str(error).splitlines()[0]}. Run migrate; if the feed connects under "
                    "another role than migrate does, GRANT it SELECT and DELETE on live_change and "
                    "ALL on live_lease."
                ) from error

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """Return a connection as the listener's. Raise TimeoutError and psycopg's errors."""
        # LISTEN does not work through a pooler in transaction mode: it may need a way around.
        if settings.DATABASE_LISTEN_URL:
            return await connect(dict(conninfo_to_dict(settings.DATABASE_LISTEN_URL)))
        return await connect(parameters_of(self._using))

    async def _is_notified(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Whether notifications arrive: not through a pooler in transaction mode."""
        await connection.execute(f"LISTEN {CHANNEL}")
        ((process,),) = await execute(connection, "SELECT pg_backend_pid()")
        if process == connection.info.backend_pid:
            return True
        # A pooler is between: does it pass on what another connection says?
        async with await self.connect() as other:
            await other.execute(f"NOTIFY {CHANNEL}")
        async for _ in connection.notifies(timeout=HEARING_SECONDS, stop_after=1):
            return True
        # The pooler's connection would go on listening for whomever it is lent to.
        await connection.execute(f"UNLISTEN {CHANNEL}")
        logger.warning(
            "Change feed: the pooler passes no notifications on, so it looks for "
            "changes every %.0f ms. Set DATABASE_LISTEN_URL to the database itself.",
            POLL_SECONDS * 1000,
        )
        return False

    async def _count_rows(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # Statistics, since counting would take longer the more there are.
        for rows, dead_rows in await execute(connection, _COUNT_ROWS):
            self.hearing.rows, self.hearing.dead_rows = rows, dead_rows

    async def _look_for_triggers(self, connection: psycopg.AsyncConnection[Any]) -> None:
        found = await execute(connection, FIND_TRIGGERS)
        silent = frozenset(missing(((table, name) for table, name, _ in found), self._using))
        if silent - self.silent_tables:
            logger.error(
                "Change feed: %s will not announce changes: no trigger there. Run migrate.",
                ", ".join(sorted(silent)),
            )
        self.silent_tables = silent


def parameters_of(alias: str) -> dict[str, Any]:
    """What psycopg needs to connect to a database as Django does."""
    parameters = connections[alias].get_connection_params()
    return {name: parameters[name] for name in parameters.keys() - DJANGO_PARAMETERS}


async def connect(parameters: dict[str, Any]) -> psycopg.AsyncConnection[Any]:
    """Return a connection of the feed's own. Raise TimeoutError and psycopg's errors."""
    async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
        return await psycopg.AsyncConnection.connect(
            **parameters,
            autocommit=True,
            application_name="change feed",
            # A pooler may give each statement another connection.
            prepare_threshold=None,
        )
