"""`async with atomic()`: Django's transactions around code that awaits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import wraps
from inspect import isasyncgenfunction
from types import FrameType, TracebackType
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from . import debugging, scope
from .base import note_rollbacks
from .calls import executor_for
from .generators import generator_around, has_yielded
from .scope import ConnectionScope, Executor, Keep
from .threads import to_the_end

F = TypeVar("F", bound=Callable[..., Any])


_LOST = "This atomic() block has ended: it was left from another task or context, and rolled back."


class AtomicBlock(ConnectionScope):
    """The scope of one `async with atomic()`, and what to restore when it ends."""

    def __init__(
        self,
        atomic: Atomic,
        executor: Executor,
        outer: ConnectionScope | None,
        wrapper: BaseDatabaseWrapper,
        generator: FrameType | None,
    ) -> None:
        super().__init__(executor, outer)
        self.alias = atomic.alias
        self.generator = generator
        self.inner: AtomicBlock | None = None  # which holds this one's lock
        if isinstance(outer, AtomicBlock):
            outer.inner = self
        self.was_doomed = wrapper.needs_rollback  # by what is around it
        self.has_been_ended = False
        self._wrapper = wrapper
        self._outer_wrapper = debugging.initialized().get(self.alias)
        self._sharing = debugging.shared(self._outer_wrapper, wrapper)
        self._sharing.__enter__()
        connections[self.alias] = wrapper  # so that transaction.on_commit() finds it

    def check(self) -> None:
        """Raise unless the transaction goes on, and this is the place for calls in it."""
        if self.is_lost:
            raise transaction.TransactionManagementError(_LOST)
        if self.generator is not None and has_yielded(self.generator):
            name = self.generator.f_code.co_qualname
            raise transaction.TransactionManagementError(
                f"The async generator {name} has yielded inside an atomic() block. What the loop "
                "over it awaits would run in its transaction, and be lost when the loop is left "
                "early. Yield outside of the block, or make it an @asynccontextmanager."
            )
        super().check()

    def is_of_another_task(self) -> bool:
        """Whether a task has entered it that is still at work, and is not this one."""
        task = self.task
        return task is not None and task is not asyncio.current_task() and not task.done()

    def must_be_left_later(self) -> bool:
        """Whether this very task is still in a block inside of this one."""
        return self.inner is not None and self.inner.task is asyncio.current_task()

    async def close(self) -> None:
        """Let what is around this block go on."""
        scope.leave(self)
        self.generator = None
        self._sharing.__exit__(None, None, None)
        if debugging.initialized().get(self.alias) is self._wrapper:
            if self._outer_wrapper is not None:
                connections[self.alias] = self._outer_wrapper
            else:
                del connections[self.alias]
        if isinstance(self.outer, AtomicBlock):
            self.outer.inner = None
        await _release(self.executor, self.outer)


class Atomic(transaction.Atomic):
    """Django's `atomic`, also for `async with` and as a decorator of coroutine functions.

    What the block awaits, and the tasks that it starts, run in the transaction. Savepoints,
    `durable`, `on_commit` and the rest are Django's own. Where Django rolls back without a word,
    because an error was caught inside the block, `async with` raises `TransactionManagementError`.
    """

    def __init__(self, using: str | None, savepoint: bool, durable: bool) -> None:
        super().__init__(using, savepoint, durable)
        self._blocks: list[AtomicBlock] = []

    @property
    def alias(self) -> str:
        """The database of the transaction."""
        return self.using or DEFAULT_DB_ALIAS

    async def __aenter__(self) -> None:
        generator = generator_around(sys._getframe().f_back)
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
        block = AtomicBlock(self, executor, outer, wrapper, generator)
        self._blocks.append(block)
        scope.enter(block)

    async def _begin(self, executor: Executor) -> BaseDatabaseWrapper:
        begun: list[BaseDatabaseWrapper] = []

        def begin() -> None:
            self.__enter__()
            wrapper = connections[self.alias]
            note_rollbacks(wrapper)
            begun.append(wrapper)

        try:
            await executor.call(begin)
        except BaseException as error:
            if begun:  # a thread finishes even when its caller is cancelled
                await self._roll_back(executor, error)
            raise
        return begun[0]

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = scope.innermost()
        if block not in self._blocks or not isinstance(block, AtomicBlock):
            await self._leave_elsewhere(error)
            return
        if error is None and block.is_of_another_task():
            await self._leave_elsewhere(error)
            return
        self._blocks.remove(block)
        try:
            await block.acquire()
        except (asyncio.CancelledError, transaction.TransactionManagementError) as failure:
            # Another task still uses the transaction, or has ended it.
            await self._give_up(block, failure)
            raise
        try:
            await block.executor.call(self._end, block, error_type, error, traceback)
        finally:
            try:
                if not block.has_been_ended:  # cancelled before a thread could begin the call
                    await self._roll_back(block.executor, asyncio.CancelledError())
            finally:
                block.release()
                await block.close()

    async def _roll_back(self, executor: Executor, failure: BaseException) -> None:
        await to_the_end(executor.call(self.__exit__, type(failure), failure, None))

    def _end(
        self,
        block: AtomicBlock,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block.has_been_ended = True
        connection: Any = connections[self.alias]
        if error_type is None and not block.was_doomed and _has_failed(connection):
            cause = connection.rollback_exc
            failure = transaction.TransactionManagementError(
                "Something in this atomic() block failed or was cancelled, and the block went on: "
                "all of it was rolled back. To go on after an error, catch it around an atomic() "
                "block of its own, which is a savepoint."
            )
            self.__exit__(type(failure), failure, None)
            raise failure from cause
        if error_type is None and _will_commit(connection):
            # The first to run after COMMIT: tasks that the next ones start are outside.
            connection.run_on_commit.insert(0, (set(), block.end, False))
        self.__exit__(error_type, error, traceback)

    async def _leave_elsewhere(self, error: BaseException | None) -> None:
        """End the block that another context entered, or that still has one inside of it."""
        if not self._blocks:
            if (left := scope.innermost()) is not None and not left.is_open:
                scope.leave(left)
            raise transaction.TransactionManagementError(_LOST)
        # That of a task that is over, if there is one, rather than that of another at work.
        over = [each for each in self._blocks if each.task is None or each.task.done()]
        block = (over or self._blocks)[-1]
        self._blocks.remove(block)
        if isinstance(error, GeneratorExit):
            # Perhaps of a coroutine that is thrown away, which cannot await: drop the connection.
            await block.close()
            return
        block.is_lost = block.task is not asyncio.current_task()
        failure = error or RuntimeError(
            "An atomic() block must be left in the task and context that entered it, and after the "
            "blocks inside of it: what was awaited meanwhile was not all in its transaction. It "
            "was rolled back. Enter it without wait_for() or create_task()."
        )
        if not block.must_be_left_later():
            try:
                await block.acquire()
            except (asyncio.CancelledError, transaction.TransactionManagementError):
                pass
            else:
                block.release()
        await self._give_up(block, failure)
        if error is None:
            raise failure

    async def _give_up(self, block: AtomicBlock, failure: BaseException) -> None:
        try:
            if not block.has_lost_its_transaction():
                # On a connection in use this cannot roll back, and drops it.
                await self._roll_back(block.executor, failure)
        finally:
            await block.close()

    def _copy(self) -> Atomic:
        return Atomic(self.using, self.savepoint, self.durable)  # type: ignore[attr-defined]

    def __call__(self, function: F) -> F:
        """Decorate `function`, so that each of its calls is a block of its own."""
        if isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} yields, so it cannot run in an atomic() block as a whole."
            )
        called = getattr(function, "__call__", None)  # noqa: B004 - of an object
        if not iscoroutinefunction(function) and not iscoroutinefunction(called):
            return super().__call__(function)

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._copy():
                return await function(*args, **kwargs)

        return call  # type: ignore[return-value]


_FAILED = (TransactionStatus.INERROR, TransactionStatus.UNKNOWN)


def _has_failed(connection: Any) -> bool:
    """Whether the transaction is lost, though nobody asked for it by `set_rollback`."""
    # After a failed statement PostgreSQL refuses all others, and makes COMMIT a rollback.
    info = getattr(connection.connection, "info", None)
    return not connection.rollback_is_meant and (
        connection.needs_rollback
        or connection.closed_in_transaction
        or getattr(info, "transaction_status", None) in _FAILED
    )


def _will_commit(connection: Any) -> bool:
    """Whether the block that ends is the outermost, those of synchronous code included."""
    return (
        not connection.savepoint_ids
        and connection.commit_on_exit
        and not connection.needs_rollback
        and not connection.closed_in_transaction
    )


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
