"""Run synchronous ORM code where Django itself would: in asgiref's thread for the context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync, sync_to_async
from django.db.transaction import TransactionManagementError

from . import scope
from .debugging import Debugging
from .scope import ConnectionScope

T = TypeVar("T")

# The transaction that each event loop has open on a thread which all its tasks share.
_transactions: dict[asyncio.AbstractEventLoop, DjangoExecutor] = {}


def is_below_sync_code() -> bool:
    """Whether synchronous code waits for the caller, in `async_to_sync`.

    Django runs the ORM in the thread of that code, so that it sees its transaction.
    """
    return getattr(AsyncToSync.executors, "current", None) is not None


class DjangoExecutor:
    """The connections of the thread that asgiref keeps for this context.

    Other tasks may share that thread: during a transaction their calls wait for its end.
    """

    def __init__(self, is_transaction: bool = False) -> None:
        self._is_transaction = is_transaction
        self._has_ended = asyncio.Event()

    def serves(self, alias: str) -> bool:  # noqa: ARG002
        """Whether `alias` can be used here: in a thread, any database can."""
        return True

    def holds(self, alias: str) -> bool:  # noqa: ARG002
        """Whether the connection to `alias` outlives a call: it stays with its thread."""
        return True

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in the thread, which a cancellation does not stop."""
        loop = asyncio.get_running_loop()
        while (other := _transactions.get(loop, self)) is not self and not is_below_sync_code():
            await other.ended()
        if self._is_transaction:
            _transactions[loop] = self
        outer = scope.innermost()
        try:
            run = sync_to_async(run_in_this_thread)
            return await run(Debugging.of_this_context(), function, args, kwargs)
        finally:
            scope.restore(outer)  # when cancelled, asgiref copies the context of mid-call

    async def ended(self) -> None:
        """Wait until this transaction has ended."""
        try:
            async with asyncio.timeout(scope.LOCK_TIMEOUT_SECONDS):
                await self._has_ended.wait()
        except TimeoutError:
            raise TransactionManagementError(
                f"The one thread for the database has been in another task's atomic() block for "
                f"{scope.LOCK_TIMEOUT_SECONDS:g} s. Inside `async with opened()` each has its own."
            ) from None

    async def close(self) -> None:
        """Let other tasks use the thread again."""
        if _transactions.get(asyncio.get_running_loop()) is self:
            del _transactions[asyncio.get_running_loop()]
        self._has_ended.set()


def run_in_this_thread(
    debugging: Debugging,
    function: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> T:
    """Call `function`; async code that it calls by `async_to_sync` comes back to this thread."""
    inner = ConnectionScope(DjangoExecutor())
    scope.enter(inner)
    try:
        with debugging.shared():
            return function(*args, **kwargs)
    finally:
        scope.leave(inner)
