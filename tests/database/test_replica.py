"""A router: reads go to a replica, writes to the default database, tags to a file of SQLite."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.test.utils import override_settings
from pytest_django.plugin import DjangoDbBlocker

from app.database.calls import call, run
from app.database.lifespan import opened, statistics
from app.database.models import aprefetch_related_objects
from app.database.transaction import atomic
from tests.database.library.models import Author, Book, Tag

pytestmark = pytest.mark.only("postgresql")

REPLICA_CONNECTIONS = 3


class Router:
    """Tags live in the file; all else is read from the replica."""

    def db_for_read(self, model: type[Any], **_: object) -> str:
        """Where to read."""
        return "file" if model is Tag else "replica"

    def db_for_write(self, model: type[Any], **_: object) -> str:
        """Where to write."""
        return "file" if model is Tag else "default"

    def allow_relation(self, *_: object, **__: object) -> bool:
        """All may refer to each other."""
        return True


def options(**pool: object) -> dict[str, Any]:
    """The options of the default database, with a pool of another size, or with none."""
    ours = connections.settings["default"]["OPTIONS"]
    others = {name: value for name, value in ours.items() if name != "pool"}
    return others | {"pool": pool} if pool else others


@pytest.fixture
def databases(
    library: Author, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """The settings, to be changed, of the replica: another alias of the same database."""
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "file.sqlite3")}
    configured = connections.configure_settings({"default": {}, "file": file})
    connections.settings["file"] = configured["file"]
    connections.settings["replica"] = replica = connections.settings["default"] | {
        "OPTIONS": options(min_size=0, max_size=REPLICA_CONNECTIONS, timeout=5)
    }
    with django_db_blocker.unblock(), override_settings(DATABASE_ROUTERS=[f"{__name__}.Router"]):
        with connections["file"].schema_editor() as editor:
            editor.create_model(Tag)
        yield replica
    for alias in ("file", "replica"):
        connections[alias].close()
        del connections[alias], connections.settings[alias]


@pytest.fixture
def stock_replica(databases: dict[str, Any]) -> None:
    """A replica on Django's own engine."""
    databases |= {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options()}


@pytest_asyncio.fixture(params=["opened", "not opened"])
async def _lifespan(databases: None, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if request.param == "opened":
        async with opened(threads=2):
            yield
            for pool in statistics():
                assert (pool.waiting, pool.errors) == (0, 0)
                assert pool.idle == (2 if pool.name == "threads" else pool.size)
    else:
        yield
        await sync_to_async(connections.close_all)()


@pytest.fixture
def router(databases: dict[str, Any], _lifespan: None) -> None:
    """The three databases, in the lifespan and without."""


@pytest.fixture
def mixed_router(stock_replica: None, _lifespan: None) -> None:
    """The same with a replica on Django's own engine."""


def both() -> tuple[int, int]:
    """How many authors two connections see: that of the default database, that of the replica."""
    return Author.objects.using("default").count(), Author.objects.using("replica").count()


async def test_instances_remember_where_they_were_read(router: None) -> None:
    book = await Book.objects.select_related("author").aget(title="First")
    assert (book._state.db, book.author._state.db) == ("replica", "replica")
    book.pages = 7
    await book.asave()
    assert book._state.db == "default"
    await book.arefresh_from_db()
    assert (book._state.db, book.pages) == ("replica", 7)
    await book.arefresh_from_db(using="default")
    assert book._state.db == "default"
    assert (await Book.objects.acreate(title="4th", author_id=book.author_id))._state.db == (
        "default"
    )
    author, is_new = await Author.objects.aget_or_create(name="Ursula")
    assert (author._state.db, is_new) == ("default", False)
    await book.adelete()
    assert await Book.objects.acount() == await Book.objects.using("default").acount() == 3


async def test_what_is_related_is_read_where_the_router_says(router: None) -> None:
    author = await Author.objects.prefetch_related("books").aget()
    assert {book._state.db for book in author.books.all()} == {"replica"}
    author = await Author.objects.aget()
    await aprefetch_related_objects([author], "books")
    assert {book._state.db for book in author.books.all()} == {"replica"}
    assert (await author.books.acreate(title="4th"))._state.db == "default"
    assert await author.books.acount() == 4


async def test_prefetches_do_not_go_from_one_engine_to_another(router: None) -> None:
    with pytest.raises(SynchronousOnlyOperation):
        await Book.objects.prefetch_related("tags").alast()


async def test_a_nested_block_of_the_replica_is_a_transaction_of_its_own(router: None) -> None:
    with pytest.raises(KeyError):
        async with atomic():
            await Author.objects.acreate(name="Dropped")
            assert await run(both) == (2, 1)
            async with atomic(using="replica"):
                await Author.objects.using("replica").acreate(name="Kept")
                async with atomic(), atomic(using="replica"):  # savepoints
                    assert await run(both) == await call("replica", both) == (2, 2)
            assert await run(both) == (3, 2)
            raise KeyError
    assert await run(both) == (2, 2)


async def test_blocks_of_two_engines_end_each_by_itself(router: None) -> None:
    with pytest.raises(KeyError):
        async with atomic(using="file"):
            await Tag.objects.acreate(word="dropped")
            async with atomic():
                await Author.objects.acreate(name="Kept")
                assert await Tag.objects.acount() == 1
            raise KeyError
    assert (await Tag.objects.acount(), await run(both)) == (0, (2, 2))


async def test_a_block_of_a_file_takes_no_writes_of_the_block_around_it(router: None) -> None:
    with pytest.raises(KeyError):
        async with atomic():
            async with atomic(using="file"):
                await Tag.objects.acreate(word="kept")
                await Author.objects.acreate(name="Dropped")
            raise KeyError
    assert (await Tag.objects.acount(), await run(both)) == (1, (1, 1))


async def test_the_pool_of_each_is_bounded(router: None) -> None:
    async def blocks(number: int) -> None:
        async with atomic():
            await Author.objects.acreate(name=f"{number}")
            async with atomic(using="replica"):
                await Author.objects.acount()

    def replicas() -> int:
        with connections["replica"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    processes = await asyncio.gather(*(run(replicas) for _ in range(50)))
    assert len(set(processes)) <= REPLICA_CONNECTIONS
    await asyncio.gather(*(run(both) for _ in range(50)), *(blocks(each) for each in range(30)))
    assert await run(both) == (31, 31)


WRITES: dict[str, Callable[[Author], Awaitable[Any]]] = {
    "acreate": lambda _: Author.objects.acreate(name="new"),
    "abulk_create": lambda _: Author.objects.abulk_create([Author(name="new")]),
    "abulk_update": lambda ours: Author.objects.abulk_update([ours], ["name"]),
    "aget_or_create": lambda _: Author.objects.aget_or_create(name="new"),
    "aupdate_or_create": lambda _: Author.objects.aupdate_or_create(name="new"),
    "aupdate": lambda _: Author.objects.aupdate(name="new"),
    "queryset.adelete": lambda _: Author.objects.all().adelete(),
    "asave": lambda ours: ours.asave(),
    "adelete": lambda ours: ours.adelete(),
    "related.acreate": lambda ours: ours.books.acreate(title="new"),
    "related.aupdate": lambda ours: ours.books.aupdate(title="new"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_writes_are_in_the_block_though_reads_go_to_another_engine(
    write: Callable[[Author], Awaitable[Any]], mixed_router: None
) -> None:
    async def rows() -> list[Any]:
        books = Book.objects.using("default").order_by("pk").values_list("author__name", "title")
        authors = Author.objects.using("default").values_list("name")
        return [each async for each in books] + [each async for each in authors]

    before = await rows()
    author = await Author.objects.using("default").aget(name="Ursula")
    author.name = "new"
    with pytest.raises(KeyError):
        async with atomic():
            await write(author)
            raise KeyError
    assert await rows() == before


async def test_a_row_is_read_anew_from_a_replica_of_another_engine(mixed_router: None) -> None:
    author = await Author.objects.using("default").aget()
    await author.arefresh_from_db()
    assert author._state.db == "replica"
