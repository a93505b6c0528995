"""Follow one read replica: whether sources may read there, and how much of the primary it shows."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import psycopg
from django.conf import settings

from ..background import Backoff
from ..database.pools import hang_up
from ..exceptions import LiveError
from . import wal
from .arrivals import Arrivals
from .listener import HEARTBEAT_SECONDS, LOOK_SECONDS, execute
from .postgresql import PostgreSQLBackend, connect, parameters_of
from .triggers import LEASE

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.001
"""Between two looks while somebody waits; each pause is twice as long, up to `LOOK_SECONDS`."""
MAX_PAUSE_SECONDS = 0.1
"""Between two looks for a mark."""

# A commit's replay makes it visible to new snapshots, and what `pg_last_wal_replay_lsn` returns
# moves after that (`ApplyWalRecord` in PostgreSQL's xlogrecovery.c).
_LOOK = f"""
    SELECT pg_is_in_recovery(), pg_postmaster_start_time()::text,
        (pg_last_wal_replay_lsn() - '0/0')::bigint, last_value
    FROM {LEASE}
"""  # noqa: S608 - a constant
# Any value that was not there before will do. A lease that is in force stays so.
_MARK = f"""
    SELECT setval('{LEASE}', CASE WHEN last_value >= now THEN last_value + 1 ELSE now - 1 END)
    FROM {LEASE}, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
"""  # noqa: S608
_MARKED = f"SELECT last_value FROM {LEASE}"  # noqa: S608


class NoStandbyError(LiveError):
    """The database is no replica, or not the one that it was."""


class Replica:
    """A read replica of the database that `primary` follows.

    It *serves* from when it was seen to follow that very database, and in time, until it fails or
    lags by more than `LIVE_REPLICA_SECONDS`; all that as far as `follow` runs. `on_loss` is told
    when what was read there proves nothing any more.
    """

    def __init__(
        self, alias: str, primary: PostgreSQLBackend, on_loss: Callable[["Replica"], object]
    ) -> None:
        self.alias: Final = alias
        self.serves = False
        """Whether sources may read there."""
        self.replayed = -1
        """Up to which position in the primary's WAL it shows all commits, at least."""
        self.is_told = False
        """Whether the log has said that it does not serve."""
        self._primary = primary
        self._on_loss = on_loss
        self._arrivals = Arrivals(self._give_up)
        self._asked = asyncio.Event()
        self._term = 0
        self._started_at: str | None = None

    def begin_term(self) -> None:
        """Trust it no more until it was seen to follow the database that the feed now follows."""
        self._term += 1
        self.replayed = -1
        self._arrivals.release()
        self._asked.set()

    def shows(self, position: int) -> bool:
        """Whether sources may read there, and find all commits up to `position`."""
        return self.serves and self.replayed >= position

    async def reach(self, position: int) -> bool:
        """Wait until it shows all commits up to `position`. Return whether it does."""
        if self.serves and self.replayed < position:
            self._asked.set()
            await self._arrivals.wait(position)
        return self.shows(position)

    async def follow(self) -> None:
        """Follow it for ever; whatever fails is tried again, less and less often."""
        backoff = Backoff(first_seconds=0.2)
        while not self._term:
            await self._asked.wait()
            self._asked.clear()
        while True:
            try:
                self._started_at = None
                async with await connect(parameters_of(self.alias)) as connection:
                    await self._follow(connection, backoff)
            except Exception as error:
                self._leave(str(error).strip().partition("\n")[0] or type(error).__name__)
                # It may come back as another server, or with less than it has shown.
                self.replayed = -1
                self._on_loss(self)
                # A query may wait for an answer for ever.
                hang_up(self.alias)
            await backoff.pause()

    async def _follow(self, connection: psycopg.AsyncConnection[Any], backoff: Backoff) -> None:
        while True:
            term = self._term
            try:
                primary = await self._primary.connect()
            except (psycopg.Error, TimeoutError):
                await backoff.pause()  # It is not this one's fault; the feed tells of it.
                continue
            async with primary:
                is_current = await self._shows_a_mark_of(primary, connection)
            if term != self._term:
                continue
            if is_current:
                backoff.reset()
                self._enter()
                await self._report(connection, term)
            else:
                seconds = settings.LIVE_REPLICA_SECONDS
                self._leave(f"It lags by more than {seconds:g} s, or follows another database.")
                await backoff.pause()

    async def _shows_a_mark_of(
        self,
        primary: psycopg.AsyncConnection[Any],
        connection: psycopg.AsyncConnection[Any],
    ) -> bool:
        """Write a mark to the primary, and return whether the replica shows it in time.

        Only a replica of this database does, and only on the primary's own timeline: one that was
        ahead when another became primary has positions that mean nothing here.
        """
        loop = asyncio.get_running_loop()
        marks: set[int] = set()
        pause = FIRST_PAUSE_SECONDS
        await execute(primary, _MARK)
        await execute(primary, wal.flush(primary.info.server_version))
        deadline = loop.time() + settings.LIVE_REPLICA_SECONDS
        while True:
            # Others write marks and leases, too, after which this one may never be seen.
            marks.update(mark for (mark,) in await execute(primary, _MARKED))
            _, shown = await self._look(connection)
            if shown in marks or loop.time() > deadline:
                return shown in marks
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _report(self, connection: psycopg.AsyncConnection[Any], term: int) -> None:
        """Keep `replayed` as current as somebody needs it, until it serves no more."""
        pause = FIRST_PAUSE_SECONDS
        while self.serves and term == self._term:
            replayed, _ = await self._look(connection)
            if term == self._term:
                self.replayed = replayed
                self._arrivals.reach(replayed)
            if self._arrivals:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LOOK_SECONDS)
            else:
                await self._wait_until_asked(connection)
                pause = FIRST_PAUSE_SECONDS

    async def _look(self, connection: psycopg.AsyncConnection[Any]) -> tuple[int, int]:
        """Return what it has replayed, and the mark that it shows."""
        ((is_standby, started_at, replayed, mark),) = await execute(connection, _LOOK)
        if not is_standby or replayed is None:
            raise NoStandbyError("It is no standby.")
        if self._started_at not in (None, started_at):
            # A pooler keeps the connection, and what it now leads to may show less.
            raise NoStandbyError(
                "Another server answers at its address, or the same was restarted."
            )
        self._started_at = started_at
        return int(replayed), int(mark)

    async def _wait_until_asked(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Return if somebody waits, the server has something to say, or after a heartbeat."""
        loop, socket = asyncio.get_running_loop(), connection.fileno()
        loop.add_reader(socket, self._asked.set)  # as when it breaks
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._asked.wait()
        finally:
            loop.remove_reader(socket)
        self._asked.clear()

    def _enter(self) -> None:
        if not self.serves:
            logger.info("Replica %s: sources read there.", self.alias)
        self.serves, self.is_told = True, False

    def _leave(self, why: str) -> None:
        if not self.is_told:
            logger.warning("Replica %s: sources read from the primary instead. %s", self.alias, why)
        self.serves, self.is_told = False, True
        self._arrivals.release()

    def _give_up(self) -> None:
        self._leave(f"It lags by more than {settings.LIVE_REPLICA_SECONDS:g} s.")
