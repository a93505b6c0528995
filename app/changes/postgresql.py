"""Hear of commits to PostgreSQL, of whatever process, through LISTEN."""

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.conninfo import conninfo_to_dict

from .triggers import CHANNEL, TABLES_WITH_TRIGGER, missing

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10
HEARTBEAT_SECONDS = 15
HEARTBEAT_TIMEOUT_SECONDS = 5
HEARTBEATS_A_LOOK = 20
"""How many of them per look whether the triggers are still there: one in five minutes."""
# What Django passes to a psycopg connection for its own cursors.
DJANGO_PARAMETERS = {"context", "cursor_factory", "prepare_threshold"}


class PostgreSQLBackend:
    """Follows the database `using` on one connection of its own, which runs nothing else."""

    def __init__(self, using: str) -> None:
        self.silent_tables: frozenset[str] = frozenset()
        """The live tables without a trigger, by the last look at them."""
        self._using = using

    async def changes(self) -> AsyncIterator[frozenset[str] | None]:
        """Yield None on listening, then the one table that each notification names.

        Notifications sent while nobody listened are lost by design
        (https://www.postgresql.org/docs/current/sql-listen.html): LISTEN comes first, then
        None tells that everything may have changed.
        """
        async with await self._connect() as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            await self._look_for_triggers(connection)
            yield None
            for beat in count(1):
                async for notification in connection.notifies(timeout=HEARTBEAT_SECONDS):
                    yield frozenset((notification.payload,))
                were_silent = self.silent_tables
                async with asyncio.timeout(HEARTBEAT_TIMEOUT_SECONDS):
                    if beat % HEARTBEATS_A_LOOK:
                        # A half-open connection is silent, too: only a question finds it out.
                        await connection.execute("")
                    else:
                        await self._look_for_triggers(connection)
                if were_silent - self.silent_tables:
                    yield None  # Nobody knows what happened before they spoke.

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            return await psycopg.AsyncConnection.connect(
                **self._parameters(), autocommit=True, application_name="change feed"
            )

    def _parameters(self) -> dict[str, Any]:
        # LISTEN does not work through a pooler in transaction mode: it may need a way around.
        if settings.DATABASE_LISTEN_URL:
            return dict(conninfo_to_dict(settings.DATABASE_LISTEN_URL))
        parameters = connections[self._using].get_connection_params()
        return {name: parameters[name] for name in parameters.keys() - DJANGO_PARAMETERS}

    async def _look_for_triggers(self, connection: psycopg.AsyncConnection[Any]) -> None:
        cursor = await connection.execute(TABLES_WITH_TRIGGER)
        present = [name for (name,) in await cursor.fetchall()]
        silent = frozenset(missing(present, self._using))
        if silent - self.silent_tables:
            logger.error(
                "Change feed: %s will not announce changes: no trigger there. Run migrate.",
                ", ".join(sorted(silent)),
            )
        self.silent_tables = silent
