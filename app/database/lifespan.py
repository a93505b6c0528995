"""Open what the configured databases need, for as long as an event loop serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from django.db import connections

from .base import uses_greenlets
from .limiter import Statistics
from .pools import open_pools, pool_statistics
from .threads import can_use_threads, open_threads, opened_threads


@asynccontextmanager
async def opened(threads: int = 8) -> AsyncIterator[None]:
    """Within the block, the databases of this event loop are ready for many tasks at once.

    Those of our engine get a pool of connections, sized by Django's own `OPTIONS["pool"]`; the
    others share a pool of `threads` threads, each with connections of its own. All is closed at
    the end. Outside of the block everything works too, at the pace of one connection per call.
    """
    async with AsyncExitStack() as stack:
        if any(uses_greenlets(alias) for alias in connections):
            await stack.enter_async_context(open_pools())
        if can_use_threads():
            await stack.enter_async_context(open_threads(threads))
        yield


def statistics() -> list[Statistics]:
    """How the pools of this event loop stand: one per database of our engine, one of threads."""
    threads = opened_threads()
    return pool_statistics() + ([threads.statistics()] if threads else [])
