"""PgBouncer in transaction mode: each transaction may get another connection of the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_asyncio
from django.db import ProgrammingError, connection, connections
from django.db.transaction import TransactionManagementError

from app.database.calls import run
from app.database.lifespan import opened, statistics
from app.database.transaction import atomic
from tests.database.conftest import Script
from tests.database.library.models import Author, Book, Tag
from tests.pgbouncer import pooler as start_pooler

pytestmark = pytest.mark.only("postgresql")

SERVER_CONNECTIONS = 3
TITLES = ["First", "Second", "Third"]
SLEEP = "SELECT 1 FROM pg_sleep(60)"

Settings = dict[str, Any]


@pytest.fixture
def pooler(pgbouncer: str, library: Author, database_url: str, tmp_path: Path) -> Iterator[str]:
    """The DATABASE_URL of a pooler that has fewer connections than our pool."""
    with start_pooler(
        pgbouncer,
        tmp_path,
        database_url,
        pool_mode="transaction",
        default_pool_size=SERVER_CONNECTIONS,
    ) as url:
        yield url


@pytest.fixture
def pooled(pooler: str) -> Iterator[Settings]:
    """The settings of the database, which is behind the pooler until the test ends."""
    direct = connections.settings["default"]
    address = urlsplit(pooler)
    connections.settings["default"] = settings = direct | {
        "HOST": address.hostname,
        "PORT": address.port,
        "USER": address.username,
        "PASSWORD": "",
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {**direct["OPTIONS"], "pool": {"min_size": 0, "max_size": 8, "timeout": 20}},
    }
    yield settings
    connections.settings["default"] = direct


@pytest_asyncio.fixture(params=["opened", "not opened"])
async def database(pooled: Settings, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The database behind the pooler, in the lifespan and without."""
    if request.param == "not opened":
        yield
        return
    async with opened():
        yield
        async with asyncio.timeout(10):
            while not _is_whole():  # noqa: ASYNC110 - it may still be growing
                await asyncio.sleep(0.01)


def _is_whole() -> bool:
    (pool,) = statistics()
    assert pool.lost == 0
    return (pool.idle, pool.waiting) == (pool.size, 0)


def value(sql: str) -> int:
    """What a query answers."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


async def server_process() -> int:
    """The process of the server that a query reaches."""
    return await run(value, "SELECT pg_backend_pid()")


async def titles() -> list[str]:
    """All titles, one at a time."""
    return [book.title async for book in Book.objects.aiterator(chunk_size=1)]


async def test_many_callers_share_its_few_connections(database: None) -> None:
    async def work() -> int:
        book = await Book.objects.select_related("author").prefetch_related("tags").alast()
        assert book is not None
        assert (book.title, book.author.name) == ("Third", "Ursula")
        return await server_process()

    processes = await asyncio.gather(*(work() for _ in range(200)))
    assert len(set(processes)) <= SERVER_CONNECTIONS


async def test_a_block_with_its_savepoints_stays_on_one_connection(database: None) -> None:
    async def work(number: int) -> set[int]:
        async with atomic():
            processes = {await server_process()}
            await Tag.objects.acreate(word=f"kept {number}")
            with pytest.raises(KeyError):
                async with atomic():
                    await Tag.objects.acreate(word=f"lost {number}")
                    processes.add(await server_process())
                    raise KeyError
            processes.add(await server_process())
            if number % 2:
                raise ValueError
        return processes

    ends = await asyncio.gather(*(work(number) for number in range(40)), return_exceptions=True)
    assert [isinstance(end, ValueError) for end in ends] == [False, True] * 20
    assert {len(end) for end in ends if isinstance(end, set)} == {1}
    assert {tag.word async for tag in Tag.objects.all()} == {f"kept {n}" for n in range(0, 40, 2)}


async def test_iterators_need_no_cursor_on_the_server(database: None) -> None:
    assert await asyncio.gather(*(titles() for _ in range(40))) == [TITLES] * 40


async def test_in_a_block_iterators_may_have_cursors_on_the_server(pooled: Settings) -> None:
    pooled["DISABLE_SERVER_SIDE_CURSORS"] = False
    async with opened():
        assert await asyncio.gather(*(atomic(titles)() for _ in range(40))) == [TITLES] * 40


async def test_cursors_on_the_server_are_missed_outside_of_blocks(pooled: Settings) -> None:
    """Why `DISABLE_SERVER_SIDE_CURSORS` is needed; nothing is lost, and no row is wrong."""
    pooled["DISABLE_SERVER_SIDE_CURSORS"] = False
    async with opened():
        ends = await asyncio.gather(*(titles() for _ in range(40)), return_exceptions=True)
        for end in ends:
            assert end == TITLES or isinstance(end, (ProgrammingError, psycopg.ProgrammingError))
        assert await asyncio.gather(*(atomic(titles)() for _ in range(40))) == [TITLES] * 40


@pytest.mark.parametrize("binding", [False, True])
async def test_nothing_is_prepared_unless_asked_for(pooled: Settings, binding: bool) -> None:
    pooled["OPTIONS"]["server_side_binding"] = binding
    async with opened():
        counted = (Book.objects.filter(pages__gt=99).acount() for _ in range(200))
        assert set(await asyncio.gather(*counted)) == {2}


async def test_cancelled_statements_end_on_the_server(database: None, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as direct:

        async def sleepers() -> int:
            cursor = await direct.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE query = %s AND state = 'active' AND datname = current_database()",
                [SLEEP],
            )
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

        for _ in range(5):
            tasks = [asyncio.create_task(run(value, SLEEP)) for _ in range(SERVER_CONNECTIONS)]
            async with asyncio.timeout(10):
                while await sleepers() < SERVER_CONNECTIONS:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ends] == [asyncio.CancelledError] * SERVER_CONNECTIONS
            assert await sleepers() == 0
            assert await asyncio.gather(*(Book.objects.acount() for _ in range(20))) == [3] * 20


async def test_cancellations_hit_no_statement_of_others(database: None) -> None:
    async def give_up(number: int) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001 * (number % 40)), atomic():
                await Author.objects.acreate(name=f"lost {number}")
                await run(value, SLEEP)

    async def go_on(number: int) -> None:
        async with atomic():
            await Author.objects.acreate(name=f"kept {number}")
            assert await run(value, "SELECT 1 FROM pg_sleep(0.01)") == 1

    await asyncio.gather(*(work(number) for number in range(100) for work in (give_up, go_on)))
    assert await Author.objects.filter(name__startswith="kept").acount() == 100
    assert not await Author.objects.filter(name__startswith="lost").aexists()


async def test_a_timeout_in_a_block_is_no_silent_rollback(database: None) -> None:
    with pytest.raises(TransactionManagementError, match="failed or was cancelled"):
        async with atomic():
            await Author.objects.acreate(name="Octavia")
            try:
                async with asyncio.timeout(0.05):
                    await run(value, SLEEP)
            except TimeoutError:
                pass
    assert await Author.objects.acount() == 1


def test_a_script_needs_no_lifespan(pooler: str, script: Script) -> None:
    assert script(f"""
        from django.db import connections

        settings.DATABASES["default"] = database = project.database({pooler!r})
        database["DISABLE_SERVER_SIDE_CURSORS"] = True
        connections.settings = connections.configure_settings(settings.DATABASES)

        async def titles():
            return [book.title async for book in Book.objects.aiterator(chunk_size=1)]

        async def write(number):
            async with atomic():
                await Author.objects.acreate(name=f"{{number}}")
                if number % 2:
                    raise KeyError

        async def main():
            print(connections["default"].settings_dict["HOST"])
            print(set(map(tuple, await gather(*(titles() for _ in range(200))))))
            await gather(*(write(number) for number in range(40)), return_exceptions=True)
            print(await Author.objects.acount())

        run(main())
    """) == ["127.0.0.1", f"{{{tuple(TITLES)}}}", "21"]
