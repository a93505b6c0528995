"""The threads for databases of any other engine: here SQLite."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.db.transaction import TransactionManagementError

from app.database import scope
from app.database.calls import run
from app.database.lifespan import opened, statistics
from app.database.threads import open_threads
from app.database.transaction import atomic
from tests.database.conftest import THREADS
from tests.database.library.models import Author, Book
from tests.postgresql import PostgreSQL

only_sqlite = pytest.mark.only("sqlite")


@only_sqlite
async def test_calls_run_side_by_side(author: Author) -> None:
    barrier = threading.Barrier(THREADS)
    assert sorted(await asyncio.gather(*(run(barrier.wait, 5) for _ in range(THREADS)))) == [
        0, 1, 2, 3
    ]  # fmt: skip
    (threads,) = statistics()
    assert (threads.name, threads.max_size, threads.idle) == ("threads", THREADS, THREADS)


@only_sqlite
async def test_connections_are_kept(author: Author) -> None:
    await asyncio.gather(*(Book.objects.acount() for _ in range(20)))
    used = [await run(_connection) for _ in range(20)]  # kept, so that no two have one id
    assert 1 <= len({id(each) for each in used}) <= THREADS


def _connection() -> Any:
    connection.ensure_connection()
    return connection.connection


@only_sqlite
async def test_all_is_closed_at_the_end(library: Author) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        async with opened(threads=2):
            await asyncio.gather(*(Book.objects.acount() for _ in range(6)))
        assert not [t for t in threading.enumerate() if t.name.startswith("orm")]
        gc.collect()
    assert statistics() == []


@only_sqlite
async def test_a_full_pool_has_a_deadline(library: Author) -> None:
    release = threading.Event()
    async with open_threads(1, timeout_seconds=0.05):
        stuck = asyncio.create_task(run(release.wait, 5))
        await asyncio.sleep(0)
        with pytest.raises(OperationalError, match="all 1 are in use"):
            await Book.objects.acount()
        release.set()
        await stuck
        assert await Book.objects.acount() == 3
        (threads,) = statistics()
        assert (threads.errors, threads.waiting, threads.idle) == (1, 0, 1)


@only_sqlite
async def test_a_cancelled_call_keeps_its_thread_until_it_ends(library: Author) -> None:
    release = threading.Event()
    async with open_threads(2):
        has_begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def hold() -> None:
            loop.call_soon_threadsafe(has_begun.set)
            release.wait(5)

        task = asyncio.create_task(run(hold))
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (threads,) = statistics()
        assert threads.idle == 1
        assert await Book.objects.acount() == 3
        release.set()
        async with asyncio.timeout(5):
            while statistics()[0].idle < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@only_sqlite
async def test_a_cancelled_transaction_waits_for_its_thread(author: Author) -> None:
    has_begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def create() -> None:
        loop.call_soon_threadsafe(has_begun.set)
        release.wait(5)
        Author.objects.create(name="Nobody")

    async def work() -> None:
        async with atomic():
            await run(create)

    task = asyncio.create_task(work())
    await has_begun.wait()
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Author.objects.acount() == 1


@only_sqlite
async def test_a_transaction_left_open_is_rolled_back(author: Author) -> None:
    def forget() -> None:
        from django.db import transaction

        transaction.atomic().__enter__()
        Author.objects.create(name="Nobody")

    await run(forget)
    assert await asyncio.gather(*(Author.objects.acount() for _ in range(8))) == [1] * 8


@only_sqlite
async def test_before_the_lifespan_transactions_wait_for_each_other(
    library: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "LOCK_TIMEOUT_SECONDS", 0.05)
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with atomic():
            await Author.objects.acreate(name="Octavia")
            has_begun.set()
            await may_end.wait()

    task = asyncio.create_task(work())
    await has_begun.wait()
    with pytest.raises(TransactionManagementError, match="one thread"):
        await Author.objects.acount()
    may_end.set()
    await task
    assert await Author.objects.acount() == 2


@pytest.fixture
def stock_engine(library: Author) -> Iterator[None]:
    """PostgreSQL on Django's own engine, with connections that last and are checked."""
    ours = connections.settings["default"]
    options = {name: value for name, value in ours["OPTIONS"].items() if name != "pool"}
    djangos = {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 600, "OPTIONS": options}
    connections.settings["default"] = ours | djangos
    connections["default"] = connections.create_connection("default")
    yield
    connections.close_all()
    connections.settings["default"] = ours
    connections["default"] = connections.create_connection("default")


@pytest.mark.only("postgresql")
async def test_the_stock_engine_survives_a_restart(
    stock_engine: None, postgresql: PostgreSQL
) -> None:
    async with opened(threads=THREADS):
        pids = await asyncio.gather(*(run(_pid) for _ in range(8)))
        assert len(set(pids)) <= THREADS
        await asyncio.to_thread(postgresql.crash)
        assert await asyncio.gather(*(Book.objects.acount() for _ in range(20))) == [3] * 20


def _pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
