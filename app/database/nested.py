"""Async code in the midst of a call: `async_to_sync` inside a greenlet, and what that code calls.

Django calls async signal receivers this way. With Django's own engines they run on the event loop
while the thread of the ORM waits, and their own `a…` calls come back to that thread and so to its
transaction. Here there is no thread: they are awaited, and come back to the call's connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync
from greenlet import getcurrent

from . import scope
from .greenlet_executor import GreenletExecutor
from .greenlets import CallGreenlet, Outside
from .scope import ConnectionScope

P = ParamSpec("P")
T = TypeVar("T")


class ReentrantExecutor(Executor):
    """What asgiref's `sync_to_async` finds in place of the thread that waits: the same call."""

    def __init__(self, inner: ConnectionScope) -> None:
        self._inner = inner
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `function` on the connections of the call."""
        future: Future[T] = Future()
        task = asyncio.get_running_loop().create_task(self._run(future, function, args, kwargs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what nobody awaits any more."""
        for task in self._tasks:
            task.cancel()

    async def _run(
        self,
        future: Future[T],
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(await self._inner.call(_keep_main_loop, function, args, kwargs))
        except BaseException as error:
            future.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise


def _keep_main_loop(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    # asgiref notes the event loop for the thread it believes to be in; this one has none to note.
    noted = vars(SyncToAsync.threadlocal)
    before = dict(noted)
    try:
        return function(*args, **kwargs)
    finally:
        noted.clear()
        noted.update(before)


def await_within(call: CallGreenlet, awaitable: Awaitable[T]) -> T:
    """Await in mid-call; calls made meanwhile run on the connections of the call too."""
    outer: GreenletExecutor = call.executor
    inner = ConnectionScope(outer.nested())
    reentrant = ReentrantExecutor(inner)
    before = getattr(AsyncToSync.executors, "current", None)
    scope.enter(inner)
    AsyncToSync.executors.current = reentrant
    try:
        return call.suspend(Outside(awaitable))  # type: ignore[no-any-return]
    finally:
        AsyncToSync.executors.current = before
        scope.leave(inner)
        reentrant.shutdown()


_async_to_sync = AsyncToSync.__call__


def _call(self: AsyncToSync[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await inside a greenlet, where asgiref could only refuse."""
    call = getcurrent()
    if isinstance(call, CallGreenlet) and call.executor is not None:
        return await_within(call, self.awaitable(*args, **kwargs))
    return _async_to_sync(self, *args, **kwargs)


AsyncToSync.__call__ = _call  # type: ignore[method-assign]
