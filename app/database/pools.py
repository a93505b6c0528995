"""Lend the connections of an event loop, a bounded number for each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic
from typing import Any

from django.core.exceptions import ImproperlyConfigured
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
DEFAULT_SIZE = 4  # as in psycopg's pool
DEFAULT_TIMEOUT_SECONDS = 30.0
CLOSE_SECONDS = 1.0
"""So long the cleaning up of other generators may take, when `asyncio.run` ends them all."""
# The pool's pauses between attempts double, up to minutes: after an outage, callers would run into
# their deadlines. So it gives up soon, and begins anew for as long as somebody waits.
RECONNECT_SECONDS = 0.25

_open: dict[asyncio.AbstractEventLoop, dict[str, Pool]] = {}
# What loops use outside of `open_pools`, and the generator that closes it when they end.
_kept: dict[asyncio.AbstractEventLoop, tuple[dict[str, LoopPool], AsyncGenerator[None, None]]] = {}


class LoopPool:
    """The connections to one database that an event loop keeps outside of `open_pools`.

    Sized by Django's own `OPTIONS["pool"]`. There is nothing in the background: a caller connects
    if none is idle, and hears at once why it cannot.
    """

    hint = ""
    """Where to read why no connection could be opened."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.settings = connections.settings[alias]
        options = self.settings["OPTIONS"].get("pool")
        self.options: dict[str, Any] = options if isinstance(options, dict) else {}
        self._template = GreenletDatabaseWrapper(self.settings, alias)
        self._helpers = self._template.shared_helpers()
        self._connect_options: dict[str, Any] = self._template.get_connection_params()
        self._cursor_factory = self._connect_options.pop("cursor_factory")
        self._connect_options["autocommit"] = True
        self._lent: set[Connection] = set()
        self._idle: list[Connection] | None = []
        size = self.options.get("max_size") or self.options.get("min_size", DEFAULT_SIZE)
        if size < 1:
            raise ImproperlyConfigured(
                f'DATABASES["{alias}"]["OPTIONS"]["pool"] needs a max_size of 1 or more.'
            )
        # The pool's own queue costs a task for each who waits, until Python 3.12.
        self._limiter = CapacityLimiter(
            size,
            self.options.get("timeout", DEFAULT_TIMEOUT_SECONDS),
            self.options.get("max_waiting", 0),
        )

    def wrapper(self) -> GreenletDatabaseWrapper:
        """A database wrapper whose connection will come from here."""
        wrapper = GreenletDatabaseWrapper(self.settings, self.alias, self._helpers)
        wrapper.pool = self
        return wrapper

    async def close(self) -> None:
        """Close what is idle, and what is lent when it comes back or `CLOSE_SECONDS` are over."""
        idle, self._idle = self._idle, None
        for connection in idle or ():
            connection.pgconn.finish()
        end = monotonic() + CLOSE_SECONDS
        while self._lent and monotonic() < end:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        for connection in self._lent:
            connection.adapter.drop(lambda: None)

    def hang_up(self) -> None:
        """End all that are lent."""
        for connection in self._lent:
            connection.hang_up()

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
        try:
            connection = await_in_greenlet(self._borrow())
        except (TimeoutError, PoolTimeout) as error:
            seconds = f" within {self._limiter.timeout_seconds:g} s"
            raise PoolTimeout(self._why_none(seconds)) from error
        except asyncio.QueueFull as error:
            raise TooManyRequests(self._why_none()) from error
        self._lent.add(connection)
        connection.adapter._pool = self  # type: ignore[assignment]  # where `_close` gives it back
        return connection.adapter

    def putconn(self, adapter: Adapter) -> None:
        """Take a connection back."""
        connection = adapter.owner
        self._lent.discard(connection)
        connection.alive_at = monotonic()
        if connection.is_idle():
            self._put_back(connection)
        else:
            # Left in a transaction or in mid-statement. Cleaning up takes time in which a
            # cancellation would lose the connection; a closed one is replaced.
            adapter.drop(lambda: self._put_back(connection))

    async def _borrow(self) -> Connection:
        deadline = monotonic() + self._limiter.timeout_seconds
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        consumer = await self._limiter.acquire()
        try:
            connection = await self._take(deadline - monotonic())
        except BaseException:
            self._limiter.release(consumer)
            raise
        connection.consumer = consumer
        if task and task.cancelling() > cancelled:
            # Until Python 3.12, wait_for() loses a cancellation that comes with the result:
            # https://github.com/python/cpython/issues/86296
            self._put_back(connection)
            raise asyncio.CancelledError
        return connection

    async def _take(self, seconds: float) -> Connection:
        """Return one that is idle, or a new one. Raises TimeoutError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_trusted():
                return connection
            connection.pgconn.finish()
        async with asyncio.timeout(seconds):
            return await self._connect()

    def _put_back(self, connection: Connection) -> None:
        if self._idle is not None and not connection.closed:
            self._idle.append(connection)
        else:
            connection.pgconn.finish()
        self._limiter.release(connection.consumer)

    def _why_none(self, when: str = "") -> str:
        why = self._limiter.why_closed()
        if why is None:
            why = f"{len(self._lent)} are in use, no other could be opened{self.hint}"
        return (
            f'No connection to the database "{self.alias}"{when}: {why}. '
            'OPTIONS["pool"] sets max_size, timeout and max_waiting.'
        )


class Pool(LoopPool):
    """psycopg's, opened by `open_pools`: it keeps connections ready, and replaces lost ones."""

    hint = ": see the log of psycopg.pool"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._drained_at = 0.0
        self._returning: set[asyncio.Task[None]] = set()
        self.connections: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            connection_class=Connection,
            kwargs=self._connect_options,
            open=False,
            configure=self._configure,
            check=self._check if self.settings["CONN_HEALTH_CHECKS"] else None,
            reconnect_failed=self._try_again,
            reconnect_timeout=RECONNECT_SECONDS,
            **{name: value for name, value in self.options.items() if name in _OPTIONS},
        )

    async def _take(self, seconds: float) -> Connection:
        return await self.connections.getconn(seconds)

    def _put_back(self, connection: Connection) -> None:
        consumer = connection.consumer  # The next one may have it before the pool is done.
        try:
            # The pool may wait for its lock; a cancellation then would lose the connection.
            finish(self.connections.putconn(connection), self._returning)
        finally:
            self._limiter.release(consumer)

    async def _check(self, connection: Connection) -> None:
        """Raise if the server has gone away; ask it only when there is reason to doubt.

        A connection in use a moment ago, on which the server has not spoken, is taken as alive:
        asking would double the latency of each query. A server that does not answer is given up
        while the caller still has time for another connection.
        """
        if connection.is_trusted():
            return
        loop = asyncio.get_running_loop()
        given_up = loop.call_later(self._limiter.timeout_seconds / 2, connection.hang_up)
        try:
            await connection.execute("")
        except Exception:
            # After a restart all are dead. The pool would find that out one by one, with a
            # growing delay, so that a lone caller ran into its deadline.
            if connection.created_at >= self._drained_at:
                self._drained_at = monotonic()
                await self.connections.drain()
            raise
        finally:
            given_up.cancel()

    async def _try_again(self, pool: AsyncConnectionPool[Connection]) -> None:
        if pool.get_stats().get("requests_waiting"):
            await pool.check()  # which lets it grow

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
    opened = {alias: Pool(alias) for alias in connections if uses_greenlets(alias)}
    async with AsyncExitStack() as stack:
        for pool in opened.values():
            await stack.enter_async_context(pool.connections)
        _open[loop] = opened
        try:
            yield
        finally:
            del _open[loop]


def pools() -> Iterable[LoopPool]:
    """Where the connections of the running event loop come from, one for each database."""
    loop = asyncio.get_running_loop()
    if loop in _open:
        return _open[loop].values()
    if loop not in _kept:
        for other in [each for each in list(_kept) if each.is_closed()]:
            _kept.pop(other, None)
        kept = {alias: LoopPool(alias) for alias in connections if uses_greenlets(alias)}
        _kept[loop] = kept, _begun(_close_at_the_end(kept.values()))
    return _kept[loop][0].values()


async def _close_at_the_end(kept: Iterable[LoopPool]) -> AsyncGenerator[None, None]:
    """Yield once; `asyncio.run` ends the generators that it finds, and so closes the pools."""
    try:
        yield
    finally:
        # Other generators may end, and need connections, after this one.
        await asyncio.gather(*(pool.close() for pool in kept))


def _begun(generator: AsyncGenerator[None, None]) -> AsyncGenerator[None, None]:
    with suppress(StopIteration):
        generator.asend(None).send(None)
    return generator


def hang_up(alias: str) -> None:
    """End the connections to a database that does not answer: what waits for it hears that."""
    for pool in pools():
        if pool.alias == alias:
            pool.hang_up()


def pool_statistics() -> list[Statistics]:
    """The statistics of this event loop's pools, none outside `open_pools`."""
    return [pool.statistics() for pool in _open.get(asyncio.get_running_loop(), {}).values()]
