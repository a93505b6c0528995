"""Await synchronous ORM code: in the bridge on our engine, in a thread on any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS

from app.database import (
    nested,  # noqa: F401  # it teaches asgiref about the bridge
    scope,
)
from app.database.base import BridgedWrapper, is_bridged
from app.database.lease import BridgedLease, everything, nothing, transactions
from app.database.scope import Lease, Scope
from app.database.stock import StockLease, is_below_sync_code
from app.database.threads import ThreadLease, opened_threads

P = ParamSpec("P")
T = TypeVar("T")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)`, synchronous ORM code, without blocking the event loop.

    The engine of the default database decides where it runs. In the bridge, databases of another
    engine raise `SynchronousOnlyOperation`; `call` takes the alias of a database to decide by.
    Whatever else `function` waits for or computes, in the bridge it stops the event loop: hash
    passwords in a thread.
    """
    return await call(DEFAULT_DB_ALIAS, function, *args, **kwargs)


async def call(alias: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)`, synchronous ORM code that uses the database `alias`."""
    around = scope.current(alias)
    if around is not None:
        return await around.call(function, *args, **kwargs)
    lease = await lease_for(alias)
    try:
        return await lease.call(function, *args, **kwargs)
    finally:
        await lease.close()


@asynccontextmanager
async def connections_for(alias: str) -> AsyncIterator[Scope | Lease]:
    """Within the block, calls share a connection to `alias`: the transaction's, or one borrowed."""
    around = scope.current(alias)
    if around is not None and around.lease.holds(alias):
        yield around
        return
    lease = await lease_for(alias, keeps=everything)
    try:
        yield lease
    finally:
        await lease.close()


async def lease_for(alias: str, keeps: Callable[[BridgedWrapper], bool] = nothing) -> Lease:
    """Return connections of your own, for `alias` and the databases that share its engine."""
    if is_below_sync_code():
        return StockLease(keeps is transactions)
    if is_bridged(alias):
        return BridgedLease(keeps)
    if (threads := opened_threads()) is None:
        return StockLease(keeps is transactions)
    return ThreadLease(threads, await threads.borrow(), is_lasting=keeps is not nothing)
