"""Hold the connections of one call, one iteration or one transaction, on the loop's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from django.db import connections
from greenlet import getcurrent

from . import debugging
from .base import BridgedWrapper
from .greenlets import run_in_greenlet
from .pools import connectors
from .scope import Keep

P = ParamSpec("P")
T = TypeVar("T")


class GreenletExecutor:
    """A wrapper for each database of our engine; each connects when it is first used.

    After each call the database connections that are not to be kept go back to their pools.
    """

    def __init__(
        self,
        keep: Keep = Keep.NOTHING,
        wrappers: dict[str, BridgedWrapper] | None = None,
    ) -> None:
        self._keep = keep
        self._wrappers = wrappers or {each.alias: each.wrapper() for each in connectors()}

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
        getcurrent().executor = self  # read in nested.py
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

    def _keeps(self, wrapper: BridgedWrapper) -> bool:
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
