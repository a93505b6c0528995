"""Lend the connections of an event loop, a bounded number for each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any

from django.db import connections
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from .adapter import Adapter, Connection
from .base import GreenletDatabaseWrapper, uses_greenlets
from .greenlets import await_in_greenlet, finish, run_in_greenlet
from .limiter import CapacityLimiter, Statistics

# Of Django's `OPTIONS["pool"]`, what holds for an async pool as well: no callbacks, no classes.
_OPTIONS = {
    "min_size", "max_size", "timeout", "max_lifetime", "max_idle", "num_workers",
}  # fmt: skip
TRUSTED_SECONDS = 1.0
# The pool's pauses between attempts double, up to minutes: after an outage, callers would run into
# their deadlines. So it gives up soon, and begins anew for as long as somebody waits.
RECONNECT_SECONDS = 0.25

_open: dict[asyncio.AbstractEventLoop, dict[str, Pool]] = {}


class Connector:
    """Connects anew for each executor and closes after it: what there is outside `open_pools`."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.settings = connections.settings[alias]
        self.options = self.settings["OPTIONS"].get("pool") or {}
        self._template = GreenletDatabaseWrapper(self.settings, alias)
        self._helpers = self._template.shared_helpers()
        self._connect_options: dict[str, Any] = self._template.get_connection_params()
        self._cursor_factory = self._connect_options.pop("cursor_factory")
        self._connect_options["autocommit"] = True

    def wrapper(self) -> GreenletDatabaseWrapper:
        """A database wrapper whose connection will come from here."""
        wrapper = GreenletDatabaseWrapper(self.settings, self.alias, self._helpers)
        wrapper.pool = self
        return wrapper

    async def _configure(self, connection: Connection) -> None:
        connection.adapter = Adapter(connection, self._cursor_factory)
        await run_in_greenlet(self._template._configure_connection, connection.adapter)

    async def _connect(self) -> Connection:
        connection = await Connection.connect(**self._connect_options)
        try:
            await self._configure(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    # What Django calls, inside a greenlet.

    def open(self) -> None:
        """Do nothing: whoever made this has opened it."""

    def getconn(self) -> Adapter:
        """Borrow a connection."""
        adapter = await_in_greenlet(self._connect()).adapter
        adapter._pool = self  # type: ignore[assignment]  # where `_close` gives it back
        return adapter

    def putconn(self, adapter: Adapter) -> None:
        """Take a connection back."""
        adapter.drop(lambda: None)


class Pool(Connector):
    """The pool of one database on one event loop, sized by Django's own `OPTIONS["pool"]`."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        options = self.options if isinstance(self.options, dict) else {}
        self._drained_at = 0.0
        self._lent = 0
        self._returning: set[asyncio.Task[None]] = set()
        self.connections: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            connection_class=Connection,
            kwargs=self._connect_options,
            open=False,
            configure=self._configure,
            check=self._check if self.settings["CONN_HEALTH_CHECKS"] else None,
            reconnect_failed=self._try_again,
            reconnect_timeout=RECONNECT_SECONDS,
            **{name: value for name, value in options.items() if name in _OPTIONS},
        )
        # The pool's own queue costs a task for each who waits, until Python 3.12.
        self._limiter = CapacityLimiter(
            self.connections.max_size, self.connections.timeout, options.get("max_waiting", 0)
        )

    async def _check(self, connection: Connection) -> None:
        """Raise if the server has gone away; ask it only when there is reason to doubt.

        A connection in use a moment ago, on which the server has not spoken, is taken as alive:
        asking would double the latency of each query.
        """
        idle_seconds = monotonic() - connection.alive_at
        if idle_seconds < TRUSTED_SECONDS and connection.is_silent():
            return
        try:
            await connection.execute("")
        except Exception:
            # After a restart all are dead. The pool would find that out one by one, with a
            # growing delay, so that a lone caller ran into its deadline.
            if connection.created_at >= self._drained_at:
                self._drained_at = monotonic()
                await self.connections.drain()
            raise

    async def _try_again(self, pool: AsyncConnectionPool[Connection]) -> None:
        if pool.get_stats().get("requests_waiting"):
            await pool.check()  # which lets it grow

    def getconn(self) -> Adapter:
        """Borrow a connection."""
        try:
            connection = await_in_greenlet(self._borrow())
        except (TimeoutError, PoolTimeout) as error:
            seconds = f" within {self._limiter.timeout_seconds:g} s"
            raise PoolTimeout(self._why_none(seconds)) from error
        except asyncio.QueueFull as error:
            raise TooManyRequests(self._why_none()) from error
        self._lent += 1
        connection.adapter._pool = self  # type: ignore[assignment]
        return connection.adapter

    def putconn(self, adapter: Adapter) -> None:
        """Take a connection back."""
        self._lent -= 1
        connection = adapter.owner
        connection.alive_at = monotonic()
        if connection.is_idle():
            self._put_back(connection)
        else:
            # Left in a transaction or in mid-statement. Cleaning up takes time in which a
            # cancellation would lose the connection; the pool replaces a closed one.
            adapter.drop(lambda: self._put_back(connection))

    def _put_back(self, connection: Connection) -> None:
        # The pool may wait for its lock; a cancellation then would lose the connection.
        try:
            finish(self.connections.putconn(connection), self._returning)
        finally:
            self._limiter.release()

    async def _borrow(self) -> Connection:
        deadline = monotonic() + self._limiter.timeout_seconds
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        await self._limiter.acquire()
        try:
            connection = await self.connections.getconn(deadline - monotonic())
        except BaseException:
            self._limiter.release()
            raise
        if task and task.cancelling() > cancelled:
            # Until Python 3.12, wait_for() loses a cancellation that comes with the result:
            # https://github.com/python/cpython/issues/86296
            self._put_back(connection)
            raise asyncio.CancelledError
        return connection

    def _why_none(self, when: str = "") -> str:
        now = self.statistics()
        if self._lent < now.max_size:
            why = f"{self._lent} are in use, no other could be opened: see the log of psycopg.pool"
        else:
            why = f"all {self._lent} are in use, {now.waiting} others wait"
        return (
            f'No connection to the database "{self.alias}"{when}: {why}. '
            'OPTIONS["pool"] sets max_size, timeout and max_waiting.'
        )

    def statistics(self) -> Statistics:
        """How the pool stands now, and what it counted since it was opened."""
        limiter, counted = self._limiter, self.connections.get_stats()
        return Statistics(
            name=self.alias,
            max_size=limiter.size,
            size=counted.get("pool_size", 0),
            idle=counted.get("pool_available", 0),
            # In the queue, or for a new connection.
            waiting=limiter.waiting + counted.get("requests_waiting", 0),
            requests=limiter.requests,
            queued=limiter.queued + counted.get("requests_queued", 0),
            errors=limiter.errors + counted.get("requests_errors", 0),
            wait_seconds=limiter.wait_seconds + counted.get("requests_wait_ms", 0) / 1000,
            opened=counted.get("connections_num", 0),
            lost=counted.get("connections_lost", 0) + counted.get("returns_bad", 0),
        )


@asynccontextmanager
async def open_pools() -> AsyncIterator[None]:
    """Within the block, the async ORM of this event loop borrows from a pool per database."""
    loop = asyncio.get_running_loop()
    pools = {alias: Pool(alias) for alias in connections if uses_greenlets(alias)}
    async with AsyncExitStack() as stack:
        for pool in pools.values():
            await stack.enter_async_context(pool.connections)
        _open[loop] = pools
        try:
            yield
        finally:
            del _open[loop]


def connectors() -> Iterable[Connector]:
    """Where the connections of the running event loop come from, one for each database."""
    pools = _open.get(asyncio.get_running_loop())
    return (
        pools.values()
        if pools
        else [Connector(alias) for alias in connections if uses_greenlets(alias)]
    )


def pool_statistics() -> list[Statistics]:
    """The statistics of this event loop's pools, none outside `open_pools`."""
    return [pool.statistics() for pool in _open.get(asyncio.get_running_loop(), {}).values()]
