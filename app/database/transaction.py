"""`async with atomic()`: Django's transactions around code that awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, TypeVar, overload

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import debugging, scope
from .calls import executor_for
from .scope import ConnectionScope, Executor, Keep

F = TypeVar("F", bound=Callable[..., Any])


class AtomicBlock(ConnectionScope):
    """The scope of one `async with atomic()`, and what to restore when it ends."""

    def __init__(
        self,
        atomic: Atomic,
        executor: Executor,
        outer: ConnectionScope | None,
        wrapper: BaseDatabaseWrapper,
    ) -> None:
        super().__init__(executor, outer)
        self.atomic = atomic
        self.outer_wrapper = debugging.initialized().get(atomic.alias)
        self._sharing = debugging.shared(self.outer_wrapper, wrapper)
        self._sharing.__enter__()
        connections[atomic.alias] = wrapper  # so that transaction.on_commit() finds it

    async def close(self) -> None:
        """Let what is around this block go on."""
        scope.leave(self)
        self._sharing.__exit__(None, None, None)
        if self.outer_wrapper is not None:
            connections[self.atomic.alias] = self.outer_wrapper
        else:
            del connections[self.atomic.alias]
        await _release(self.executor, self.outer)


class Atomic(transaction.Atomic):
    """Django's `atomic`, also for `async with` and as a decorator of coroutine functions.

    What the block awaits, and the tasks that it starts, run in the transaction. Savepoints,
    `durable`, `on_commit` and the rest are Django's own.
    """

    @property
    def alias(self) -> str:
        """The database of the transaction."""
        return self.using or DEFAULT_DB_ALIAS

    async def __aenter__(self) -> None:
        outer = scope.current(self.alias)
        if outer is None:
            executor = await executor_for(self.alias, keep=Keep.TRANSACTIONS)
        else:
            await outer.acquire()
            executor = outer.executor
        try:
            wrapper = await self._begin(executor)
        except BaseException:
            await _release(executor, outer)
            raise
        scope.enter(AtomicBlock(self, executor, outer, wrapper))

    async def _begin(self, executor: Executor) -> BaseDatabaseWrapper:
        begun: list[BaseDatabaseWrapper] = []

        def begin() -> None:
            self.__enter__()
            begun.append(connections[self.alias])

        try:
            await executor.call(begin)
        except BaseException as error:
            if begun:  # a thread finishes even when its caller is cancelled
                await executor.call(self.__exit__, type(error), error, None)
            raise
        return begun[0]

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = scope.innermost()
        if not isinstance(block, AtomicBlock) or block.atomic is not self:
            raise RuntimeError("An atomic() block must be left in the task that entered it.")
        try:
            await block.acquire()
        except (asyncio.CancelledError, transaction.TransactionManagementError) as failure:
            # Another task still uses the transaction, or has ended it.
            await self._give_up(block, failure)
            raise
        try:
            await block.executor.call(self.__exit__, error_type, error, traceback)
        finally:
            block.release()
            await block.close()

    async def _give_up(self, block: AtomicBlock, failure: BaseException) -> None:
        try:
            if not block.has_lost_its_transaction():
                # On a connection in use this cannot roll back, and drops it.
                await block.executor.call(self.__exit__, type(failure), failure, None)
        finally:
            await block.close()

    def _copy(self) -> Atomic:
        return Atomic(self.using, self.savepoint, self.durable)  # type: ignore[attr-defined]

    def __call__(self, function: F) -> F:
        """Decorate `function`, so that each of its calls is a block of its own."""
        if not iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._copy():
                return await function(*args, **kwargs)

        return call  # type: ignore[return-value]


async def _release(executor: Executor, outer: ConnectionScope | None) -> None:
    if outer is None:
        await executor.close()
    else:
        outer.release()


@overload
def atomic(using: F) -> F: ...


@overload
def atomic(using: str | None = None, savepoint: bool = True, durable: bool = False) -> Atomic: ...


def atomic(using: Any = None, savepoint: bool = True, durable: bool = False) -> Any:
    """Django's `transaction.atomic`, for `async with`, `with`, and as a decorator of both."""
    if callable(using):
        return Atomic(None, savepoint, durable)(using)
    return Atomic(using, savepoint, durable)
