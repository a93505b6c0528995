"""Hold the connections of one call, one iteration or one transaction, on the loop's thread.

Also what happens in the midst of a call, where synchronous code awaits by `async_to_sync`. Django
calls async signal receivers this way. With Django's own engines they run on the event loop while
the thread of the ORM waits, and their own `a…` calls come back to that thread and so to its
transaction. Here there is no thread: they are awaited, and come back to the call's connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync
from django.db import connections
from greenlet import getcurrent

from . import debugging, scope
from .base import GreenletDatabaseWrapper
from .greenlets import CallGreenlet, Outside, run_in_greenlet
from .pools import pools
from .scope import ConnectionScope, Keep

P = ParamSpec("P")
T = TypeVar("T")


class GreenletExecutor:
    """A wrapper for each database of our engine; each connects when it is first used.

    After each call the database connections that are not to be kept go back to their pools.
    """

    def __init__(
        self,
        keep: Keep = Keep.NOTHING,
        wrappers: dict[str, GreenletDatabaseWrapper] | None = None,
    ) -> None:
        self._keep = keep
        self._wrappers = wrappers or {each.alias: each.wrapper() for each in pools()}

    def serves(self, alias: str) -> bool:
        """Whether `alias` is a database of our engine."""
        return alias in self._wrappers

    def holds(self, alias: str) -> bool:
        """Whether the connection to `alias`, and a cursor on it, outlive a call."""
        return self._keeps(self._wrappers[alias])

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run synchronous `function` in a greenlet, on these connections."""
        return await run_in_greenlet(self._call, function, args, kwargs)

    async def close(self) -> None:
        """Give back every connection, rolled back if need be."""
        self._keep = Keep.NOTHING
        for wrapper in self._wrappers.values():
            wrapper.has_ended = True
        if any(wrapper.connection is not None for wrapper in self._wrappers.values()):
            await run_in_greenlet(self._give_back)

    def nested(self) -> GreenletExecutor:
        """Return an executor on the same connections, for calls made in the midst of one."""
        return GreenletExecutor(Keep.EVERYTHING, self._wrappers)

    def _call(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        # The greenlet shares the context of its task, which is suspended all the while.
        outer = debugging.initialized()
        for alias, wrapper in self._wrappers.items():
            if alias in outer:
                debugging.share(outer[alias], wrapper)
            connections[alias] = wrapper
        getcurrent().executor = self  # for `async_to_sync` in the midst of it
        try:
            return function(*args, **kwargs)
        finally:
            try:
                self._give_back()
            finally:
                for alias in self._wrappers:
                    if alias in outer:
                        connections[alias] = outer[alias]
                    else:
                        del connections[alias]

    def _keeps(self, wrapper: GreenletDatabaseWrapper) -> bool:
        if self._keep is Keep.TRANSACTIONS:
            return wrapper.in_atomic_block
        return self._keep is Keep.EVERYTHING

    def _give_back(self) -> None:
        for wrapper in self._wrappers.values():
            if wrapper.connection is not None and not self._keeps(wrapper):
                wrapper.in_atomic_block = False
                try:
                    wrapper.close()
                except BaseException:
                    self._give_back()  # the others too
                    raise


class ReentrantExecutor(Executor):
    """What asgiref's `sync_to_async` finds in place of the thread that waits: the same call."""

    inner: ConnectionScope

    def __init__(self, outer: Executor | None) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        # asgiref's own names, for what looks for the code that waits.
        self._broken = False
        self._old_executor = outer

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `function` on the connections of the call; after its end, in a thread."""
        if self._broken:
            elsewhere = self._old_executor or SyncToAsync.single_thread_executor
            return elsewhere.submit(function, *args, **kwargs)
        future: Future[T] = Future()
        task = asyncio.get_running_loop().create_task(self._run(future, function, args, kwargs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Cancel what nobody awaits any more."""
        self._broken = True
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
            future.set_result(await self.inner.call(_keep_main_loop, function, args, kwargs))
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
    before = getattr(AsyncToSync.executors, "current", None)
    AsyncToSync.executors.current = reentrant = ReentrantExecutor(before)
    reentrant.inner = inner = ConnectionScope(outer.nested())
    scope.enter(inner)
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
