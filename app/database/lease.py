"""Hold the connections of one call, one iteration or one transaction, on the loop's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import connections
from greenlet import getcurrent

from app.database import debugging
from app.database.base import BridgedWrapper
from app.database.bridge import cross
from app.database.pools import sources

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
        for wrapper in self._wrappers.values():
            wrapper.has_ended = True
        if any(wrapper.connection is not None for wrapper in self._wrappers.values()):
            await cross(self._give_back)

    def nested(self) -> BridgedLease:
        """A lease of the same connections, for calls made in the midst of one."""
        return BridgedLease(everything, self._wrappers)

    def _call(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        # The greenlet shares the context of its task, which is suspended all the while.
        outer = debugging.initialized()
        for alias, wrapper in self._wrappers.items():
            if alias in outer:
                debugging.share(outer[alias], wrapper)
            connections[alias] = wrapper
        getcurrent().lease = self  # read by app.database.nested
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
                try:
                    wrapper.close()
                except BaseException:
                    self._give_back()  # the others too
                    raise
