"""What must be as with Django's own engine: signals, logs, routers, several databases."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import translation
from pytest_django.plugin import DjangoDbBlocker

from app.database.calls import call, run
from app.database.lifespan import opened
from app.database.transaction import atomic
from tests.database.library.models import Author, Book

language: ContextVar[str] = ContextVar("language", default="en")


@contextmanager
def receiving(signal: Any, receiver: Any) -> Iterator[None]:
    """Connect `receiver` within the block."""
    signal.connect(receiver, sender=Author)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=Author)


async def test_signals_run_in_the_callers_context(author: Author) -> None:
    heard = []

    def receive(instance: Author, **_: object) -> None:
        heard.append((instance.name, language.get()))
        language.set("fr")

    language.set("de")
    with receiving(pre_save, receive):
        await Author.objects.acreate(name="Octavia")
    assert heard == [("Octavia", "de")]
    assert language.get() == "fr"


async def test_async_receivers_are_in_the_transaction(author: Author) -> None:
    heard: list[int] = []

    async def receive(instance: Author, **_: object) -> None:
        await asyncio.sleep(0.001)
        heard.append(await Author.objects.acount())
        heard.append(await sync_to_async(Author.objects.count)())
        async with atomic():
            await Author.objects.filter(pk=instance.pk).aupdate(name="Received")

    def create() -> None:
        with transaction.atomic():
            Author.objects.create(name="Octavia")
            transaction.set_rollback(True)

    with receiving(post_save, receive):
        await run(create)
        assert heard == [2, 2]
        assert await Author.objects.acount() == 1
        async with atomic():
            await Author.objects.acreate(name="Octavia")
    assert await Author.objects.filter(name="Received").aexists()


async def test_errors_of_async_receivers_reach_the_caller(author: Author) -> None:
    async def receive(**_: object) -> None:
        await Author.objects.acount()
        await sync_to_async(fail)()

    def fail() -> None:
        raise KeyError("expected")

    with receiving(post_save, receive), pytest.raises(KeyError):
        await Author.objects.acreate(name="Octavia")


async def test_translation_stays_with_the_caller(author: Author) -> None:
    def activate() -> str:
        before = translation.get_language()
        translation.activate("fr")
        return before

    with translation.override("de"):
        assert await run(activate) == "de"
        assert translation.get_language() == "fr"


async def test_queries_are_logged_where_the_caller_looks(author: Author) -> None:
    connection.force_debug_cursor = True
    await Book.objects.acount()
    await asyncio.gather(Author.objects.acount(), Author.objects.acount())
    async with atomic():
        await Book.objects.acount()
    connection.force_debug_cursor = False
    await Book.objects.acount()
    assert len([query for query in connection.queries if "COUNT" in str(query["sql"])]) == 4


async def test_queries_are_logged_in_debug(author: Author) -> None:
    with override_settings(DEBUG=True):
        connection.queries_log.clear()
        await Book.objects.acount()
        assert len(connection.queries) == 1


async def test_queries_are_captured_inside_a_call(author: Author) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert Book.objects.count() == 3
        return len(queries)

    assert await run(count) == 1


async def test_execute_wrappers_of_the_caller_run(author: Author) -> None:
    seen = []

    def note(execute: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return execute(sql, *args)

    with connection.execute_wrapper(note):
        await Book.objects.acount()
    await Book.objects.acount()
    assert len(seen) == 1


class ToReplica:
    """Read from the replica."""

    def db_for_read(self, *_: object, **__: object) -> str:
        """Read there."""
        return "replica"

    def db_for_write(self, *_: object, **__: object) -> str:
        """Write here."""
        return "default"


@pytest.fixture
def any_database(library: Author, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let the test use databases that Django's test tools do not know."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def replica(any_database: None) -> Iterator[str]:
    """Another alias of the same database."""
    connections.settings["replica"] = dict(connections.settings["default"])
    yield "replica"
    del connections.settings["replica"]
    if hasattr(connections._connections, "replica"):  # type: ignore[attr-defined]
        connections["replica"].close()
        del connections["replica"]


async def test_aliases_and_routers(replica: str) -> None:
    async with opened(threads=2):
        book = await Book.objects.using(replica).select_related("author").aget(title="First")
        assert (book._state.db, book.author._state.db) == (replica, replica)
        with override_settings(DATABASE_ROUTERS=[f"{__name__}.ToReplica"]):
            book = await Book.objects.aget(title="First")
            assert book._state.db == replica
            assert (
                await Book.objects.acreate(title="4th", author_id=book.author_id)
            )._state.db == "default"
            await book.arefresh_from_db(using="default")
            await book.asave(using="default")
        names = [c.alias async for c in aliases_of(replica)]
        assert names == ["default", "replica"]


async def aliases_of(replica: str) -> Any:
    """The aliases that one call sees, each with its own connection."""

    def both() -> list[Any]:
        for alias in ("default", replica):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT 1")
        return [connections["default"], connections[replica]]

    for seen in await run(both):
        yield seen


@pytest.mark.only("postgresql")  # SQLite has one writer
async def test_transactions_of_two_databases(replica: str) -> None:
    async with opened(threads=2):
        with pytest.raises(KeyError):
            async with atomic(using=replica):
                await Author.objects.using(replica).acreate(name="Dropped")
                async with atomic():
                    pass
                assert await Author.objects.using(replica).acount() == 2
                raise KeyError
        assert await Author.objects.acount() == 1


@pytest.mark.only("postgresql")
async def test_a_database_of_another_engine(any_database: None, tmp_path: Any) -> None:
    path = str(tmp_path / "other.sqlite3")
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": path}
    connections.settings["file"] = connections.configure_settings(
        {"default": {}, "file": settings}
    )["file"]

    def number() -> int:
        with connections["file"].cursor() as cursor:
            cursor.execute("SELECT 41 + 1")
            return int(cursor.fetchone()[0])

    try:
        async with opened(threads=2):
            assert await call("file", number) == 42
            with pytest.raises(SynchronousOnlyOperation):
                await run(number)
            async with atomic(using="file"):
                assert await call("file", number) == 42
                assert await Author.objects.acount() == 1
                assert await call("file", threading.get_ident) != threading.get_ident()
    finally:
        del connections.settings["file"]
        del connections["file"]


def test_below_sync_code_its_transaction_is_seen(library: Author) -> None:
    async def count() -> int:
        async with atomic():
            return await Author.objects.acount()

    with transaction.atomic():
        Author.objects.create(name="Octavia")
        assert async_to_sync(count)() == 2
        transaction.set_rollback(True)


def test_the_engine_serves_threads(library: Author) -> None:
    counted = []

    def count() -> None:
        counted.append(Author.objects.count())
        connection.close()

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    assert counted == [1]
    assert [book.title for book in Book.objects.iterator(chunk_size=1)][:1] == ["First"]


@pytest.mark.only("postgresql")
async def test_forbidden_databases_stay_forbidden() -> None:
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await Author.objects.acount()


async def test_everything_guarded_by_django_is_known() -> None:
    from django.db.backends.postgresql.base import DatabaseWrapper as DjangosOwn

    from app.database.base import ASYNC_UNSAFE

    def is_guarded(method: Any) -> bool:
        code = getattr(method, "__code__", None)
        return code is not None and "get_running_loop" in code.co_names

    guarded = {name for name in dir(DjangosOwn) if is_guarded(getattr(DjangosOwn, name, None))}
    assert guarded - {"create_cursor", "ensure_connection"} == set(ASYNC_UNSAFE.split())
