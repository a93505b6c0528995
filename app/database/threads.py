"""Run synchronous ORM code in a bounded pool of threads, one connection each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")

_executors: dict[asyncio.AbstractEventLoop, ThreadPoolExecutor] = {}


@asynccontextmanager
async def open_threads(size: int) -> AsyncIterator[None]:
    """Within the block, `run` on this event loop has `size` threads of its own.

    On leaving, running calls are awaited and every connection of the threads is closed.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(size, thread_name_prefix="orm") as executor:
        _executors[loop] = executor
        try:
            yield
        finally:
            del _executors[loop]


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)`, synchronous ORM code, without blocking the event loop.

    Outside `open_threads` it runs as Django's own `a…` methods do, in the one thread that
    asgiref keeps for the context.
    """
    executor = _executors.get(asyncio.get_running_loop())
    if executor is None:
        return await sync_to_async(function)(*args, **kwargs)
    call = sync_to_async(_with_fresh_connections, thread_sensitive=False, executor=executor)
    return await call(function, args, kwargs)


def _with_fresh_connections(
    function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    # What Django does at both ends of a request: a connection that is too old, broken or
    # borrowed from a pool is closed, so that the next call starts with a good one.
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        if not any(c.in_atomic_block for c in connections.all(initialized_only=True)):
            close_old_connections()
