"""Hold the connections of one call, one iteration or one transaction, on the loop's thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync
from django.db import connections
from greenlet import getcurrent

from app.database import debugging, scope
from app.database.base import BridgedWrapper
from app.database.bridge import Bridge, cross, wait
from app.database.pools import sources
from app.database.scope import Scope

P = ParamSpec("P")
T = TypeVar("T")


def nothing(_: BridgedWrapper) -> bool:
    """Keep no connection after a call: for a single one."""
    return False


def transactions(wrapper: BridgedWrapper) -> bool:
    """Keep connections with a transaction under way."""
    return wrapper.in_atomic_block


def everything(_: BridgedWrapper) -> bool:
    """Keep every connection: for an iteration, whose cursor lives on one."""
    return True


class BridgedLease:
    """A wrapper for each database of our engine; each connects when it is first used.

    After each call the connections that `keeps` does not name go back to their pools.
    """

    def __init__(
        self,
        keeps: Callable[[BridgedWrapper], bool] = nothing,
        wrappers: dict[str, BridgedWrapper] | None = None,
    ) -> None:
        self._keeps = keeps
        self._wrappers = wrappers or {source.alias: source.wrapper() for source in sources()}

    def serves(self, alias: str) -> bool:
        """Whether `alias` is a database of our engine."""
        return alias in self._wrappers

    def holds(self, alias: str) -> bool:
        """Whether the connection to `alias`, and a cursor on it, outlive a call."""
        return self._keeps(self._wrappers[alias])

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run synchronous `function` in the bridge, on these connections."""
        return await cross(self._call, function, args, kwargs)

    async def close(self) -> None:
        """Give back every connection, rolled back if need be."""
        self._keeps = nothing
        if any(wrapper.connection is not None for wrapper in self._wrappers.values()):
            await cross(self._give_back)

    def await_inside(self, awaitable: Awaitable[T]) -> T:
        """Await user code in mid-call; the calls it makes run on these connections too."""
        inner = Scope(BridgedLease(everything, self._wrappers))
        scope.enter(inner)
        try:
            return wait(awaitable)
        finally:
            scope.leave(inner)

    def _call(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        # The greenlet shares the context of its task, which is suspended all the while.
        outer = debugging.initialized()
        for alias, wrapper in self._wrappers.items():
            if alias in outer:
                debugging.share(outer[alias], wrapper)
            connections[alias] = wrapper
        getcurrent().lease = self  # read by `_await_inside`
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

    def _give_back(self) -> None:
        for wrapper in self._wrappers.values():
            if wrapper.connection is not None and not self._keeps(wrapper):
                wrapper.in_atomic_block = False
                wrapper.close()


_async_to_sync = AsyncToSync.__call__


def _await_inside(self: AsyncToSync[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Let `async_to_sync` await inside the bridge, where asgiref could only refuse.

    Django calls async signal receivers this way.
    """
    bridge = getcurrent()
    if isinstance(bridge, Bridge):
        lease: BridgedLease = bridge.lease
        return lease.await_inside(self.awaitable(*args, **kwargs))
    return _async_to_sync(self, *args, **kwargs)


AsyncToSync.__call__ = _await_inside  # type: ignore[method-assign]
