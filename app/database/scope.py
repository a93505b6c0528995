"""Keep the calls of one transaction on its connection, one at a time, whoever makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, Protocol, TypeVar

from asgiref.sync import AsyncToSync
from django.db.transaction import TransactionManagementError

T = TypeVar("T")

LOCK_TIMEOUT_SECONDS = 10.0


class Keep(Enum):
    """Which database connections an executor keeps after a call."""

    NOTHING = auto()
    """None, for a single call."""
    TRANSACTIONS = auto()
    """Those with a transaction under way."""
    EVERYTHING = auto()
    """All, for an iteration, whose cursor lives on one."""


class Executor(Protocol):
    """Connections, and the one place where calls on them run: a greenlet or a thread."""

    def serves(self, alias: str) -> bool:
        """Whether calls on the database `alias` can run here."""

    def holds(self, alias: str) -> bool:
        """Whether the connection to `alias`, and a cursor on it, outlive a call."""

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run synchronous `function` on these connections."""

    async def close(self) -> None:
        """Give everything back; what is not committed is rolled back."""


def synchronous_caller() -> Any:
    """What stands for the synchronous code that waits for the caller in `async_to_sync`, or None.

    Django runs the ORM in the thread of that code, so that it sees its transaction. Tasks that
    outlive the code are not below it any more.
    """
    executor = getattr(AsyncToSync.executors, "current", None)
    while executor is not None and getattr(executor, "_broken", False):
        executor = getattr(executor, "_old_executor", None)
    return executor


class ConnectionScope:
    """One `async with atomic()` block, known to its task and to the tasks started in it.

    Calls run one at a time. A nested block holds its parent's lock for as long as it lasts, so that
    what sibling tasks do can never fall into each other's savepoints.
    """

    def __init__(self, executor: Executor, outer: ConnectionScope | None = None) -> None:
        self.executor = executor
        self.outer = outer  # of the same transaction
        self.parent: ConnectionScope | None = None  # of the same context
        self.is_open = True
        self.is_lost = False  # ended by another task than its own
        self.task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._synchronous_caller = synchronous_caller()
        self._lock = asyncio.Lock()

    def takes(self, alias: str) -> bool:
        """Whether calls on `alias` belong here, if they are made now.

        Not those of another event loop, nor those below synchronous code that was called in the
        block: it has a thread, with connections of its own.
        """
        return (
            self.is_open
            and self.executor.serves(alias)
            and self._loop is asyncio.get_running_loop()
            and self._synchronous_caller is synchronous_caller()
        )

    def has_lost_its_transaction(self) -> bool:
        """Whether a block around this one was left before it, by another task."""
        outer = self.outer
        return outer is not None and (not outer.is_open or outer.has_lost_its_transaction())

    def end(self) -> None:
        """Take no more calls."""
        self.is_open = False

    def check(self) -> None:
        """Raise unless the transaction goes on."""
        if not self.is_open or self.has_lost_its_transaction():
            raise TransactionManagementError(
                "The atomic() block in which this task began has ended. Await the tasks that "
                "are started in a block before leaving it."
            )

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` on the connections of this scope once no other call does."""
        await self.acquire()
        try:
            return await self.executor.call(function, *args, **kwargs)
        finally:
            self.release()

    async def acquire(self) -> None:
        """Wait until no other task uses this scope."""
        if self._lock.locked():
            await self._queue()
        else:
            await self._lock.acquire()
        try:
            self.check()
        except TransactionManagementError:
            self.release()
            raise

    async def _queue(self) -> None:
        try:
            async with asyncio.timeout(LOCK_TIMEOUT_SECONDS):
                await self._lock.acquire()
        except TimeoutError:
            raise TransactionManagementError(
                f"Another task has used this transaction for {LOCK_TIMEOUT_SECONDS:g} s. Tasks in "
                "one atomic() block run one at a time; none may wait, inside a nested block, for a "
                "task that was started outside of it."
            ) from None

    def release(self) -> None:
        """Let the next task use this scope."""
        self._lock.release()


_innermost: ContextVar[ConnectionScope | None] = ContextVar(
    "innermost atomic() block", default=None
)


def current(alias: str) -> ConnectionScope | None:
    """The innermost scope around the caller, still open, where calls on `alias` belong."""
    scope = _innermost.get()
    while scope is not None and not scope.takes(alias):
        if scope.is_lost and scope.task is asyncio.current_task():
            scope.check()  # which raises
        scope = scope.parent
    if scope is not None:
        scope.check()
    return scope


def innermost() -> ConnectionScope | None:
    """The scope that this context entered last."""
    return _innermost.get()


def enter(scope: ConnectionScope) -> None:
    """Make `scope` the innermost: calls in this context and in new tasks belong to it."""
    scope.parent = _innermost.get()
    _innermost.set(scope)


def restore(scope: ConnectionScope | None) -> None:
    """Make `scope` the innermost again: another context, copied back, may have changed it."""
    _innermost.set(scope)


def leave(scope: ConnectionScope) -> None:
    """End `scope`: calls of this context, if it entered it, belong where they did before."""
    scope.end()
    if _innermost.get() is scope:
        parent = scope.parent
        while parent is not None and not parent.is_open and not parent.is_lost:
            parent = parent.parent
        _innermost.set(parent)
