"""Make queries appear where the caller looks for them: `connection.queries` of its own context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

_SHARED = ("force_debug_cursor", "queries_log", "execute_wrappers")


def initialized() -> dict[str, BaseDatabaseWrapper]:
    """The wrappers that `connections` already has in this thread and context."""
    return {
        connection.alias: connection
        for connection in connections.all(initialized_only=not settings.DEBUG)
    }


def share(outer: BaseDatabaseWrapper, wrapper: BaseDatabaseWrapper) -> None:
    """Let `wrapper` log its queries to `outer`, and run the wrappers installed there."""
    for name in _SHARED:
        setattr(wrapper, name, getattr(outer, name))


@contextmanager
def shared(outer: BaseDatabaseWrapper | None, wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    """Share within the block; afterwards `wrapper` logs as before."""
    before = {name: getattr(wrapper, name) for name in _SHARED}
    if outer is not None:
        share(outer, wrapper)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(wrapper, name, value)


@dataclass(frozen=True)
class Debugging:
    """The wrappers of one context, to be shared with another thread for one call."""

    outer: Mapping[str, BaseDatabaseWrapper]

    @classmethod
    def of_this_context(cls) -> Debugging:
        """Take what the caller's `connections` show."""
        return cls(initialized())

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within the block, the connections of this thread log to the caller's."""
        with ExitStack() as stack:
            for alias, outer in self.outer.items():
                stack.enter_context(shared(outer, connections[alias]))
            yield
