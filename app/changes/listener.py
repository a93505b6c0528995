"""Read what transactions have written to the table of changes, as it becomes visible.

A listener sleeps in LISTEN. Woken, it asks in one statement for what its last snapshot did not
show: a cursor over a sequence would lose rows, since transactions do not commit in the order in
which they began, and waiting for the oldest would let one that stays open stop all the others. When
changes come fast, it takes a *lease*, the moment until which it looks without being notified, and
looks every `LOOK_SECONDS`. Each taking is a NOTIFY, so that all listeners are awake while a lease
holds; none sleeps again before it has expired and all who may have kept silent have ended.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any

import psycopg

from ..database.adapter import hang_up
from ..exceptions import LiveError
from . import wal
from .change import Change
from .hearing import Hearing
from .triggers import CHANNEL, HAS_TIMES, LEASE, LEASE_MS, TABLE

LOOK_SECONDS = 0.02
"""Between two looks while changes come fast."""
LOOKS_UNTIL_LEASE = 3
"""So many looks that found something, each soon after the last, are worth a lease."""
MAX_PAUSE_SECONDS = 1.0
"""Between two looks while a transaction that may have kept silent stays open."""
POLL_SECONDS = 0.05
"""Between two looks where notifications do not arrive."""
HEARTBEAT_SECONDS = 15.0
ANSWER_SECONDS = 5.0
KEEP_MS = 60_000
"""How long rows are kept for other listeners; who has not looked for so long knows nothing."""
PACE_MS = 1000
"""Between two deletions."""
MAX_STATEMENTS = 5000
"""If more became visible at once, everything counts as changed."""
MAX_KEYS = 20_000
"""Of statements beyond so many, a look takes only the table."""

_SET_LEASE = f"""
    SELECT setval('{LEASE}', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + %s)
"""  # noqa: S608 - constants
_TAKE_LEASE = f"{_SET_LEASE}, pg_notify('{CHANNEL}', '')"
# Of the commit, where PostgreSQL keeps it; else of the statement.
_WRITTEN_AT = """
    coalesce(
        CASE WHEN current_setting('track_commit_timestamp')::boolean
            THEN pg_xact_commit_timestamp(xid::xid)
        END,
        written_at
    )
"""

# Two who delete at once would wait for each other.
_DELETE = f"""
    WITH alone AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock('{TABLE}'::regclass::oid::bigint) AS is_alone
    ), deleted AS (
        DELETE FROM {TABLE} USING alone
        WHERE is_alone AND pg_visible_in_snapshot(xid, %(to)s::pg_snapshot) AND (
            xid >= pg_snapshot_xmax(%(after)s::pg_snapshot)
                AND xid < pg_snapshot_xmax(%(to)s::pg_snapshot)
            OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(after)s::pg_snapshot)))
        )
    )
    SELECT is_alone FROM alone
"""  # noqa: S608 - constants
# What a dump has brought from a server whose numbers were ahead would look new for ever.
_DELETE_FROM_THE_FUTURE = f"""
    WITH deleted AS (
        DELETE FROM {TABLE} WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
    )
    SELECT
"""  # noqa: S608 - constants
# A snapshot shows transactions as under way only if their numbers are smaller than one that has
# ended. With this one ended, it shows all that have begun to write before.
_END_A_NUMBER = "SELECT pg_current_xact_id()"
_BEGINNING = "1:1:"


def _looking(*, has_times: bool, tells_position: bool) -> str:
    """Return the statement by which a listener looks; both cost something, and few need them."""
    position, flushed = (wal.POSITION, wal.FLUSHED) if tells_position else (0, 0)
    written_at = _WRITTEN_AT if has_times else "NULL::timestamptz"
    return f"""
    WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot)
    SELECT now.snapshot::text,
        ARRAY[
            (extract(epoch FROM statement_timestamp()) * 1000)::bigint,
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            (SELECT last_value FROM {LEASE}),
            '{TABLE}'::regclass::oid::bigint,
            {position},
            {flushed}
        ],
        NULL, NULL, NULL
    FROM now
    UNION ALL (
        SELECT NULL, NULL, relation,
            CASE WHEN sum(size) OVER (ROWS UNBOUNDED PRECEDING) <= {MAX_KEYS} THEN keys END,
            (extract(epoch FROM written) * 1000)::bigint
        FROM (
            SELECT relation, keys, size, {written_at} AS written FROM now JOIN {TABLE} ON
                xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
                    AND xid < pg_snapshot_xmax(now.snapshot)
                OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot)))
            LIMIT {MAX_STATEMENTS + 1}
        ) AS found
    )
"""  # noqa: S608 - constants


class ListenerLateError(LiveError):
    """Others may have deleted what this listener has not seen: it must begin anew."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions were visible: `xmin:xmax:xip_list`, all numbers of transactions."""

    text: str

    @property
    def under_way(self) -> frozenset[int]:
        """The transactions that had begun to write and not ended, below `xmax`."""
        return frozenset(int(xid) for xid in self.text.split(":")[2].split(",") if xid)

    @property
    def xmax(self) -> int:
        """The number after the last that had ended: of those from here on nothing is known."""
        return int(self.text.split(":")[1])

    def shows_all_before(self, xmax: int) -> bool:
        """Whether all transactions with smaller numbers have ended."""
        return int(self.text.split(":")[0]) >= xmax


@dataclass(frozen=True, slots=True)
class Look:
    """What one statement has seen; times are in milliseconds, by the database's clock."""

    snapshot: Snapshot
    began_at: int
    """Not after the snapshot."""
    at: int
    """Not before the snapshot."""
    lease: int
    table: int
    """Which table of changes it was: a backup that is put back brings another one."""
    position: int
    """How far WAL was written, at least, when the last transaction of the snapshot had ended."""
    flushed: int
    """How far replicas can have received it."""
    changes: list[Change] | None
    """None if they were too many."""
    oldest: int | None = None
    """When the first of the changes was committed, or written if that is not known."""

    def check_since(self, last: "Look") -> None:
        """Raise ListenerLateError if changes since the last look may have been lost."""
        if not 0 <= self.at - last.began_at <= KEEP_MS:
            seconds = (self.at - last.began_at) / 1000
            raise ListenerLateError(f"Between two looks, the database's clock ran {seconds} s.")
        if self.table != last.table:
            raise ListenerLateError(f"Somebody has made {TABLE} anew, as a restore does.")


class Pace:
    """Decides when a listener may sleep until it is notified."""

    def __init__(self) -> None:
        self._quiet_lease = -1
        self._expired_lease = -1
        self._xmax: int | None = None

    def has_to_see_who_is_under_way(self, look: Look) -> bool:
        """Whether the snapshot of the look after this one tells who has to be waited for."""
        return look.lease == self._expired_lease != self._quiet_lease and self._xmax is None

    def is_quiet(self, look: Look) -> bool:
        """Whether nobody who is under way can have kept silent.

        The snapshot of the look that finds a lease expired may be older than its end; so the next
        one's tells who has to be waited for.
        """
        if look.lease == self._quiet_lease:
            return True
        if look.lease > look.at:
            return False
        if look.lease != self._expired_lease:
            self._expired_lease, self._xmax = look.lease, None
        elif self._xmax is None:
            self._xmax = look.snapshot.xmax
        if self._xmax is None or not look.snapshot.shows_all_before(self._xmax):
            return False
        self._quiet_lease = look.lease
        return True


class Listener:
    """Follows the table of changes on a connection that nobody else uses."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        is_notified: bool,
        tells_position: bool = False,
        hearing: Hearing | None = None,
    ) -> None:
        self.looks = 0
        """How often it has looked."""
        self.position = 0
        """What replicas have to replay to show all that was told; 0 if nobody wants to know."""
        self._tells_position = tells_position
        self._connection = connection
        self.hearing = hearing or Hearing()
        """How well it hears, for `/metrics`."""
        self._statement = ""
        self._is_notified = is_notified
        self._was_notified = False
        connection.add_notify_handler(self._note)

    async def follow(self) -> AsyncIterator[list[Change] | None]:
        """Yield what has changed since the last time; None for "perhaps everything".

        The first item is None, and another None follows for each transaction that may have found
        nobody listening when it wrote. An item may be empty: a heartbeat. Raise ListenerLateError
        after a pause in which changes may have been lost, and psycopg's errors.
        """
        await self._execute(_DELETE_FROM_THE_FUTURE)
        # A snapshot is older than what its own statement sets.
        await self._execute(_SET_LEASE, [-1])
        await self._execute(_END_A_NUMBER)
        ((has_times,),) = await self._execute(HAS_TIMES)
        self._statement = _looking(has_times=has_times, tells_position=self._tells_position)
        ((now,),) = await self._execute("SELECT pg_current_snapshot()::text")
        look = await self._look(now)
        unheard = look.snapshot.under_way
        self.position = look.position
        yield None
        pace, deletion = Pace(), Deletion(self._connection, look)
        found_at: deque[int] = deque(maxlen=LOOKS_UNTIL_LEASE)
        pause = LOOK_SECONDS
        while True:
            is_quiet = pace.is_quiet(look) and not unheard
            if look.lease > look.at:
                pause = LOOK_SECONDS
                await asyncio.sleep(LOOK_SECONDS)
            elif is_quiet:
                pause = LOOK_SECONDS
                await self._wait(HEARTBEAT_SECONDS)
            else:
                await self._wait(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            if pace.has_to_see_who_is_under_way(look):
                await self._execute(_END_A_NUMBER)
            asked_at = monotonic()
            last, look = look, await self._look(look.snapshot.text)
            look.check_since(last)
            if look.changes != []:
                found_at.append(look.at)
            ended = unheard - look.snapshot.under_way
            unheard -= ended
            if ended or look.changes != []:
                self.position = look.position
            yield None if ended else look.changes
            if look.oldest is not None:
                # It was not committed yet when the last look began.
                before = look.began_at - max(look.oldest, last.began_at)
                self.hearing.lag.observe(max(0, before / 1000) + monotonic() - asked_at)
            if look.flushed < self.position and (look.changes == [] or look.lease <= look.at):
                await self._execute(wal.flush(self._connection.info.server_version))
            await self._keep_lease(look, found_at)
            await deletion.note(look)

    async def _keep_lease(self, look: Look, found_at: deque[int]) -> None:
        left = look.lease - look.at
        if left > 2 * LEASE_MS:
            await self._execute(_SET_LEASE, [-1])  # The clock has gone back.
        elif left > 0:
            if left < LEASE_MS / 2 and found_at and look.at - found_at[-1] < LEASE_MS:
                await self._execute(_TAKE_LEASE, [LEASE_MS])
        elif (
            len(found_at) == LOOKS_UNTIL_LEASE
            and look.at - found_at[0] < LOOKS_UNTIL_LEASE * LOOK_SECONDS * 1000
        ):
            found_at.clear()
            await self._execute(_TAKE_LEASE, [LEASE_MS])
        elif -left > HEARTBEAT_SECONDS * 1000:
            await self._execute(_SET_LEASE, [-1])  # so that writers know that somebody listens

    async def _look(self, last: str) -> Look:
        self.looks += 1
        rows = await self._execute(self._statement, {"last": last})
        self.hearing.heard_at = monotonic()
        ((snapshot, numbers, *_),) = [row for row in rows if row[0] is not None]
        changes: list[Change] | None = None
        if len(rows) <= MAX_STATEMENTS + 1:
            found = (change for row in rows if row[2] for change in _read(*row[2:4]))
            changes = list(dict.fromkeys(found))
        oldest = min((row[4] for row in rows if row[4] is not None), default=None)
        began_at, at, lease, table, position, flushed = numbers
        return Look(
            Snapshot(snapshot), began_at, at, lease, table, position, flushed, changes, oldest
        )

    async def _execute(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        return await execute(self._connection, statement, parameters)

    async def _wait(self, seconds: float) -> None:
        """Return after a notification, or so many seconds."""
        if not self._is_notified:
            await asyncio.sleep(min(seconds, POLL_SECONDS))
            return
        pgconn = self._connection.pgconn
        socket = pgconn.socket  # which it forgets when the connection breaks
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(socket, readable.set)
        try:
            async with asyncio.timeout(seconds):
                # One that came in a packet with an answer is read already.
                while not self._was_notified and not pgconn.notifies():
                    await readable.wait()
                    readable.clear()
                    pgconn.consume_input()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(socket)
        self._was_notified = False
        while pgconn.notifies():
            pass

    def _note(self, _: psycopg.Notify) -> None:
        self._was_notified = True


class Deletion:
    """Deletes what was seen long enough ago, at most once a second, and only what was seen."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], first: Look) -> None:
        self._connection = connection
        self._seen: deque[Look] = deque([first])
        self._newest: Look | None = None
        self._deleted = _BEGINNING

    async def note(self, look: Look) -> None:
        """Remember what this look has seen, and delete what one saw `KEEP_MS` ago."""
        if look.changes != []:
            self._newest = look
        if self._newest and (not self._seen or look.at - self._seen[-1].at > PACE_MS):
            self._seen.append(self._newest)
            self._newest = None
        due = None
        while self._seen and look.at - self._seen[0].at > KEEP_MS + PACE_MS:
            due = self._seen.popleft()
        if due is None:
            return
        parameters = {"after": self._deleted, "to": due.snapshot.text}
        ((is_alone,),) = await execute(self._connection, _DELETE, parameters)
        if is_alone:
            self._deleted = due.snapshot.text
        else:
            self._seen.appendleft(due)


@lru_cache(maxsize=1000)
def _columns(relation: str) -> tuple[str, tuple[str, ...]]:
    table, *columns = json.loads(relation)
    return table, tuple(columns)


def _read(relation: str, keys: list[list[str | None]] | None) -> list[Change]:
    table, columns = _columns(relation)
    if keys is None:
        return [Change(table)]
    return [Change(table, columns, tuple(values)) for values in keys]


async def execute(
    connection: psycopg.AsyncConnection[Any], statement: str, parameters: Any = None
) -> list[tuple[Any, ...]]:
    """Return the rows of one statement. Raise TimeoutError if the server does not answer."""
    loop = asyncio.get_running_loop()
    # A half-open connection is silent: only a question finds it out. psycopg would ask the same
    # server to cancel it, and wait another ten seconds.
    given_up = loop.call_later(ANSWER_SECONDS, hang_up, connection)
    try:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchall()
    except psycopg.OperationalError as error:
        if loop.time() < given_up.when():
            raise
        raise TimeoutError(f"No answer came within {ANSWER_SECONDS:g} s.") from error
    finally:
        given_up.cancel()
