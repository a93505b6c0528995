"""Await synchronous ORM code: in a greenlet on our engine, in a thread on any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS

from . import scope
from .base import uses_greenlets
from .greenlet_executor import GreenletExecutor
from .scope import ConnectionScope, Executor, Keep
from .threads import DjangoExecutor, ThreadExecutor, opened_threads

P = ParamSpec("P")
T = TypeVar("T")


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)`, synchronous ORM code, without blocking the event loop.

    The engine of the default database decides where it runs. In a greenlet, databases of another
    engine raise `SynchronousOnlyOperation`; `call` takes the alias of a database to decide by.
    Whatever else `function` waits for or computes, in a greenlet it stops the event loop: hash
    passwords in a thread.
    """
    return await call(DEFAULT_DB_ALIAS, function, *args, **kwargs)


async def call(alias: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)`, synchronous ORM code that uses the database `alias`."""
    outer = scope.current(alias)
    if outer is not None:
        return await outer.call(function, *args, **kwargs)
    executor = await executor_for(alias)
    try:
        return await executor.call(function, *args, **kwargs)
    finally:
        await executor.close()


class ConnectionsFor:
    """Within the block, calls share a connection to `alias`: the transaction's, or one borrowed.

    No generator, since `asyncio.run` ends those that it finds all at once.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._borrowed: Executor | None = None

    async def __aenter__(self) -> ConnectionScope | Executor:
        outer = scope.current(self._alias)
        if outer is not None and outer.executor.holds(self._alias):
            return outer
        self._borrowed = await executor_for(self._alias, keep=Keep.EVERYTHING)
        return self._borrowed

    async def __aexit__(self, *error: object) -> None:
        if self._borrowed is not None:
            await self._borrowed.close()


async def executor_for(alias: str, keep: Keep = Keep.NOTHING) -> Executor:
    """Return an executor with database connections of its own.

    It serves `alias` and the databases that share its engine.
    """
    if scope.synchronous_caller() is not None:
        return DjangoExecutor(keep is Keep.TRANSACTIONS)
    if uses_greenlets(alias):
        return GreenletExecutor(keep)
    if (threads := opened_threads()) is None:
        return DjangoExecutor(keep is Keep.TRANSACTIONS)
    return ThreadExecutor(threads, await threads.borrow(), is_lasting=keep is not Keep.NOTHING)
