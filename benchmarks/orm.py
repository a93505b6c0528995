"""Compare ways to await `select_related("user").alast()` on PostgreSQL, in one harness.

    python -m benchmarks.orm [--seconds 1] [--rounds 5] [--callers 1 10 100] [--latency 0 5]

Each arm is a process of its own that connects once and then waits for orders; the arms take turns,
round by round, on the same server. A proxy on the way delays each answer by the latency, so that
every round trip costs it. Printed are the medians, and the ratio to the stock `alast()` of the same
round with its spread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import uvloop

POOL_SIZE = 8
ENGINES = {
    "stock": "django.db.backends.postgresql",
    "channels": "django.db.backends.postgresql",
    "ours": "app.database",
    "async-backend": "django_async_backend.db.backends.postgresql",
    "psycopg": "app.database",
}
Query = Callable[[], Awaitable[Any]]


# An arm: one process ------------------------------------------------------------------------------


def set_up(arm: str, url: str) -> None:
    """Configure Django as the service does, but for the engine."""
    os.environ |= {"SECRET_KEY": "benchmark", "DEBUG": "false", "DATABASE_URL": url}
    os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
    os.environ["DATABASE_POOL_SIZE"] = str(POOL_SIZE)
    import django
    from django.conf import settings

    settings.DATABASES["default"]["ENGINE"] = ENGINES[arm]
    if arm == "async-backend":
        settings.INSTALLED_APPS.append("django_async_backend")
    django.setup()


def stock() -> tuple[Query, AbstractAsyncContextManager[Any]]:
    """Django's own `alast()`: one thread for all."""
    from django.db.models import QuerySet

    from orders.models import Order

    return QuerySet(Order).select_related("user").alast, nullcontext()


def channels() -> tuple[Query, AbstractAsyncContextManager[Any]]:
    """`database_sync_to_async`, as the article does."""
    from channels.db import database_sync_to_async
    from django.db.models import QuerySet

    from orders.models import Order

    return database_sync_to_async(QuerySet(Order).select_related("user").last), nullcontext()


def ours() -> tuple[Query, AbstractAsyncContextManager[Any]]:
    """This project's `alast()`, in its lifespan."""
    from app.database.lifespan import opened
    from orders.models import Order

    return Order.objects.select_related("user").alast, opened()


def async_backend() -> tuple[Query, AbstractAsyncContextManager[Any]]:
    """`django-async-backend`, giving its connection back after each query as a request does."""
    from django_async_backend.db import close_old_async_connections
    from django_async_backend.db.models.manager import AsyncManager

    from orders.models import Order

    manager = AsyncManager()
    manager.model = Order
    orders = manager.select_related("user")

    async def query() -> Any:
        try:
            return await orders.alast()
        finally:
            await close_old_async_connections()

    return query, nullcontext()


def psycopg() -> tuple[Query, AbstractAsyncContextManager[Any]]:
    """The same SQL on psycopg's own pool, and tuples for rows: what no ORM can beat."""
    from django.db import connection
    from psycopg_pool import AsyncConnectionPool

    from orders.models import Order

    sql = str(Order.objects.select_related("user").reverse()[:1].query)
    options = connection.get_connection_params() | {"autocommit": True}
    options.pop("cursor_factory")
    pool = AsyncConnectionPool(
        kwargs=options, open=False, min_size=0, max_size=POOL_SIZE, timeout=10
    )

    async def query() -> Any:
        async with pool.connection() as borrowed:
            return await (await borrowed.execute(sql.encode())).fetchone()

    return query, pool


ARMS = {
    "stock": stock,
    "channels": channels,
    "ours": ours,
    "async-backend": async_backend,
    "psycopg": psycopg,
}


async def obey(arm: str) -> None:
    """Run one measurement for each line of standard input."""
    query, context = ARMS[arm]()
    async with context:
        for _ in range(3):
            await asyncio.gather(*(query() for _ in range(POOL_SIZE)))
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            print(json.dumps(await measure(query, **order)), flush=True)


async def measure(query: Query, callers: int, seconds: float) -> dict[str, float]:
    """Let `callers` tasks ask again and again."""
    counts = [0] * callers
    cpu, begun = os.times(), perf_counter()
    end = begun + seconds

    async def ask(number: int) -> None:
        while perf_counter() < end:
            assert await query() is not None
            counts[number] += 1

    await asyncio.gather(*(ask(number) for number in range(callers)))
    elapsed, after = perf_counter() - begun, os.times()
    spent = after.user + after.system - cpu.user - cpu.system
    return {"rate": sum(counts) / elapsed, "cpu": spent / sum(counts)}


# The proxy: another process -----------------------------------------------------------------------


async def delay(folder: Path, server: str, seconds: float) -> None:
    """Forward a Unix socket, holding back each answer for `seconds`."""
    loop = asyncio.get_running_loop()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(server)

        async def answer() -> None:
            while chunk := await from_server.read(65536):
                loop.call_later(seconds, to_client.write, chunk)
            loop.call_later(seconds, to_client.close)

        async with asyncio.TaskGroup() as group:
            answering = group.create_task(answer())
            while chunk := await client.read(65536):
                to_server.write(chunk)
            to_server.close()
            answering.cancel()

    await asyncio.start_unix_server(serve, folder / ".s.PGSQL.5432")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


# The harness --------------------------------------------------------------------------------------


class Worker:
    """An arm, or a proxy, in its process."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.orm", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._input: IO[str] = self._process.stdin  # type: ignore[assignment]
        self._output: IO[str] = self._process.stdout  # type: ignore[assignment]
        if self._output.readline() != "ready\n":
            raise RuntimeError(f"benchmarks.orm {' '.join(arguments)} did not start.")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self._process.wait(timeout=20)

    def measure(self, callers: int, seconds: float) -> dict[str, float]:
        """Run one measurement."""
        print(json.dumps({"callers": callers, "seconds": seconds}), file=self._input, flush=True)
        result: dict[str, float] = json.loads(self._output.readline())
        return result


def prepare(url: str) -> str:
    """Make a database with a hundred orders, and return its URL."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS benchmark_orm WITH (FORCE)")
        connection.execute("CREATE DATABASE benchmark_orm")
    url = url.replace("/postgres?", "/benchmark_orm?")
    set_up("ours", url)
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection as django_connection

    from orders.models import Order

    call_command("migrate", verbosity=0)
    user = User.objects.create(username="ursula", email="ursula@example.com")
    Order.objects.bulk_create(Order(user=user) for _ in range(100))
    django_connection.close()
    getattr(django_connection, "close_pool", lambda: None)()
    return url


def compare(workers: dict[str, Worker], callers: int, rounds: int, seconds: float) -> None:
    """Measure all arms in turn, round by round, and print a line for each."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            results[name].append(worker.measure(callers, seconds))
    for name, measured in results.items():
        rates = [one["rate"] for one in measured]
        ratios = [
            mine["rate"] / stock["rate"]
            for mine, stock in zip(measured, results["stock"], strict=True)
        ]
        cpu = statistics.median(one["cpu"] for one in measured) * 1e6
        print(
            f"  {callers:4} callers  {name:14} {statistics.median(rates):7.0f} q/s  "
            f"{statistics.median(ratios):6.2f} x stock ({min(ratios):.2f} to {max(ratios):.2f})  "
            f"{cpu:6.0f} µs CPU"
        )


def available() -> list[str]:
    """The arms whose packages are installed."""
    needed = {"channels": "channels", "async-backend": "django_async_backend"}
    return [arm for arm in ARMS if arm not in needed or find_spec(needed[arm])]


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 5], metavar="MS")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--proxy", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        set_up(options.arm, options.url)
        uvloop.run(obey(options.arm))  # as the service does
    elif options.proxy:
        folder, server, seconds = options.proxy
        uvloop.run(delay(Path(folder), server, float(seconds)))
    else:
        run_all(options)


def run_all(options: argparse.Namespace) -> None:
    """Start the server, the proxies and the arms, and compare."""
    from psycopg.conninfo import conninfo_to_dict

    from tests.postgresql import PostgreSQL

    with PostgreSQL() as server:
        url = prepare(server.url("postgres"))
        where = conninfo_to_dict(url)
        socket = f"{where['host']}/.s.PGSQL.{where.get('port', 5432)}"
        for latency in options.latency:
            with ExitStack() as stack:
                way = url
                if latency:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pg"))
                    arguments = ("--proxy", folder, socket, str(latency / 1000))
                    stack.enter_context(Worker(*arguments))
                    way = f"postgresql://{where['user']}:@/benchmark_orm?host={folder}"
                start = partial(Worker, "--url", way, "--arm")
                workers = {arm: stack.enter_context(start(arm)) for arm in available()}
                print(
                    f"{latency:g} ms of latency, {options.rounds} rounds of {options.seconds:g} s:"
                )
                for callers in options.callers:
                    compare(workers, callers, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
