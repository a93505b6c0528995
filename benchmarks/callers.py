"""A process that does nothing but ask the ORM, one way, from many tasks: `ARM SECONDS`.

Runs by itself on the server's processor; prints one line of JSON for each number of callers.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import django
import psycopg
import uvloop
from django.conf import settings

CALLERS: Final = (1, 10, 100)

Ask = Callable[[], Awaitable[object]]


@asynccontextmanager
async def channels() -> AsyncIterator[Ask]:
    """As the article does."""
    from channels.db import database_sync_to_async

    from benchmarks.apps.article import plain_orders

    yield database_sync_to_async(lambda: plain_orders().last())


@asynccontextmanager
async def django_alast() -> AsyncIterator[Ask]:
    """Django's own `alast()`."""
    from benchmarks.apps.article import plain_orders

    yield lambda: plain_orders().alast()


@asynccontextmanager
async def ours() -> AsyncIterator[Ask]:
    """This project's `alast()`."""
    from app.database.lifespan import opened
    from orders.models import Order

    async with opened(threads=settings.DATABASE_POOL_SIZE):
        yield lambda: Order.objects.select_related("user").alast()


@asynccontextmanager
async def async_backend() -> AsyncIterator[Ask]:
    """The `alast()` of django-async-backend; each call gives its connection back to the pool."""
    from django.contrib.auth import models as auth
    from django.db import models
    from django_async_backend.db import async_connections
    from django_async_backend.db.models.base import AsyncModelMixin

    class User(AsyncModelMixin, auth.User):
        class Meta:
            app_label, proxy = "asynchronous", True

    class Order(AsyncModelMixin, models.Model):  # noqa: DJ008
        date = models.DateField()
        state = models.CharField(max_length=6)
        user = models.ForeignKey(User, on_delete=models.CASCADE)

        class Meta:
            app_label, db_table, managed = "asynchronous", "orders_order", False
            ordering = ("id",)

    async def ask() -> object:
        try:
            return await Order.async_objects.select_related("user").alast()
        finally:
            await async_connections["default"].close()

    yield ask


@asynccontextmanager
async def raw() -> AsyncIterator[Ask]:
    """The same query by psycopg's own pool, without an ORM: what is left to gain."""
    from psycopg_pool import AsyncConnectionPool

    from benchmarks.apps.article import plain_orders

    query = str(plain_orders().order_by("-id")[:1].query)
    url = os.environ["DATABASE_URL"]
    pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        url,
        min_size=1,
        max_size=settings.DATABASE_POOL_SIZE,
        kwargs={"autocommit": True},
        open=False,
    )

    async def ask() -> object:
        async with pool.connection() as connection:
            return await (await connection.execute(query)).fetchone()

    async with pool:
        yield ask


ARMS: Final = {each.__name__: each for each in (channels, django_alast, ours, async_backend, raw)}


async def measure(ask: Ask, callers: int, seconds: float) -> dict[str, float]:
    """Let `callers` tasks ask again and again for `seconds`."""
    latencies: list[float] = []
    threads = threading.active_count()
    end = time.monotonic() + seconds

    async def call() -> None:
        nonlocal threads
        while (began := time.monotonic()) < end:
            await ask()
            latencies.append(time.monotonic() - began)
        threads = max(threads, threading.active_count())

    cpu, began = time.process_time(), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    elapsed = time.monotonic() - began
    latencies.sort()
    return {
        "callers": callers,
        "queries_a_second": len(latencies) / elapsed,
        "query_us": (time.process_time() - cpu) / len(latencies) * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "threads": threads,
    }


async def main(arm: str, seconds: float) -> None:
    """Measure one arm with each number of callers."""
    async with ARMS[arm]() as ask:
        await measure(ask, 10, 0.2)
        for callers in CALLERS:
            print(json.dumps(await measure(ask, callers, seconds)), flush=True)


if __name__ == "__main__":
    arm = sys.argv[1]
    if arm == "async_backend":
        database = settings.DATABASES["default"]
        database["ENGINE"] = "django_async_backend.db.backends.postgresql"
        pool = {"min_size": 0, "max_size": settings.DATABASE_POOL_SIZE, "timeout": 30}
        database["OPTIONS"] = {**database["OPTIONS"], "pool": pool}
        settings.INSTALLED_APPS += ["django_async_backend"]
    django.setup()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arm, float(sys.argv[2])))
