"""Every writer reaches every subscriber, on either database."""

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import Settings
from starlette.applications import Starlette

from app import background, checks
from app.authentication.asking import Authentication
from app.authentication.django_sessions import DjangoSessions
from app.changes import listener, triggers
from app.changes import postgresql as postgresql_module
from app.changes.change import Change
from app.changes.feed import Feed, backend_for
from app.changes.hearing import Hearing
from app.changes.sqlite import SQLiteBackend
from app.transports.clients import Clients
from app.web import health
from tests.clients import PATIENCE_SECONDS, Socket, connect, post, session_cookie
from tests.conftest import StartServer
from tests.items.models import Item
from tests.postgresql import PostgreSQL
from tests.server import ROOT, Server

NEWEST = "subscription { item { name state owner { username } } }"


@pytest.fixture
def item(transactional_db: None) -> Item:
    """One item in the table."""
    user = User.objects.create_superuser("ada", "ada@example.org")
    return Item.objects.create(owner=user, name="other")


@pytest.fixture
async def socket(server: Server, item: Item) -> AsyncIterator[Socket]:
    """Somebody who follows the newest item, and has had the first result."""
    async with connect(server.websocket) as socket:
        await socket.subscribe(NEWEST)
        assert (await socket.next())["item"]["state"] == "OPEN"
        yield socket


def by_save(item: Item) -> None:
    item.state = "DONE"
    item.save()


def by_update(item: Item) -> None:
    Item.objects.update(state="DONE")


def by_bulk_update(item: Item) -> None:
    item.state = "DONE"
    Item.objects.bulk_update([item], ["state"])


def by_create(item: Item) -> None:
    Item.objects.create(owner_id=item.owner_id, name=item.name, state="DONE")


def by_bulk_create(item: Item) -> None:
    row = Item(owner_id=item.owner_id, name=item.name, state="DONE")
    Item.objects.bulk_create([row] * 10)


def by_raw_sql(item: Item) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE items_item SET state = 'DONE'")


def by_transaction(item: Item) -> None:
    with transaction.atomic():
        Item.objects.update(state="DONE")
        Group.objects.create(name="something else in the same transaction")


async def by_management_command(item: Item, url: str) -> None:
    code = "from tests.items.models import Item; Item.objects.update(state='DONE')"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", code, cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.items.settings", "DATABASE_URL": url},
    )  # fmt: skip
    assert await process.wait() == 0


async def by_database_client(item: Item, url: str) -> None:
    """As `sqlite3` and `psql` do: a process that knows nothing of Django."""
    statement = "UPDATE items_item SET state = 'DONE'"
    if url.startswith("sqlite"):
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
            "c.execute(sys.argv[2]); c.commit()"
        )
        target = urlsplit(url).path[1:] if os.name == "nt" else urlsplit(url).path
    else:
        code = "import psycopg, sys\nwith psycopg.connect(sys.argv[1]) as c: c.execute(sys.argv[2])"
        target = url
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, target, statement)
    assert await process.wait() == 0


@pytest.mark.parametrize(
    "write",
    [by_save, by_update, by_bulk_update, by_create, by_bulk_create, by_raw_sql, by_transaction],
)
async def test_write_in_another_process_reaches_a_subscriber(
    write: Callable[[Item], None], socket: Socket, item: Item
) -> None:
    await sync_to_async(write)(item)
    assert (await socket.next())["item"]["state"] == "DONE"


@pytest.mark.parametrize("write", [by_management_command, by_database_client])
async def test_foreign_process_reaches_a_subscriber(
    write: Callable[[Item, str], Awaitable[None]], socket: Socket, item: Item, database_url: str
) -> None:
    await write(item, database_url)
    assert (await socket.next())["item"]["state"] == "DONE"


async def test_mutation_reaches_a_subscriber(socket: Socket, item: Item, server: Server) -> None:
    query = "mutation ($id: ID!) { setState(id: $id, state: DONE) { id } }"
    await post(server.http, query, id=item.pk)
    assert (await socket.next())["item"]["state"] == "DONE"


async def test_admin_reaches_a_subscriber(socket: Socket, item: Item, server: Server) -> None:
    user = await User.objects.aget(username="ada")
    address = f"http://127.0.0.1:{server.port}/admin/items/item/{item.pk}/change/"
    headers = {"Cookie": await sync_to_async(session_cookie)(user), "Referer": address}
    async with httpx.AsyncClient(headers=headers) as client:
        page = await client.get(address)
        token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        form = {
            "csrfmiddlewaretoken": token,
            "name": item.name,
            "state": "DONE",
            "owner": str(item.owner_id),
        }
        cookies = f"{headers['Cookie']}; csrftoken={client.cookies['csrftoken']}"
        client.cookies.clear()
        answer = await client.post(address, data=form, headers={"Cookie": cookies})
    assert answer.status_code == 302, answer.text
    assert (await socket.next())["item"]["state"] == "DONE"


async def test_deletion_reaches_a_subscriber(socket: Socket, item: Item) -> None:
    await Item.objects.all().adelete()
    assert await socket.next() == {"item": None}


async def test_change_of_the_user_reaches_a_subscriber(socket: Socket, item: Item) -> None:
    await User.objects.filter(pk=item.owner_id).aupdate(username="lovelace")
    assert (await socket.next())["item"]["owner"]["username"] == "lovelace"


async def test_change_of_the_items_owner_reaches_a_subscriber(socket: Socket, item: Item) -> None:
    bob = await User.objects.acreate(username="bob")
    await Item.objects.filter(pk=item.pk).aupdate(owner=bob)
    assert (await socket.next())["item"]["owner"]["username"] == "bob"


async def test_nothing_is_sent_for_what_did_not_change_the_result(
    socket: Socket, item: Item
) -> None:
    @sync_to_async
    def write() -> None:
        Item.objects.update(state="OPEN")
        User.objects.create(username="bob")
        with transaction.atomic():
            Item.objects.update(state="DONE")
            transaction.set_rollback(True)

    await write()
    await Item.objects.aupdate(name="at last")
    assert (await socket.next())["item"]["name"] == "at last"  # nothing came in between


async def test_burst_ends_with_the_final_state(socket: Socket, item: Item) -> None:
    @sync_to_async
    def write() -> None:
        for number in range(1, 31):
            Item.objects.update(name=f"item {number}")

    await write()
    final = {"name": "item 30", "state": "OPEN", "owner": {"username": "ada"}}
    await socket.until({"item": final})
    await Item.objects.aupdate(name="at last")
    assert (await socket.next())["item"]["name"] == "at last"  # nothing came in between


@pytest.mark.only("postgresql")
async def test_migrate_installs_and_removes_triggers(
    postgresql: PostgreSQL, transactional_db: None, settings: Settings
) -> None:
    @sync_to_async
    def present() -> set[str]:
        with connection.cursor() as cursor:
            cursor.execute(triggers.FIND_TRIGGERS)
            found = {(table, trigger) for table, trigger, _ in cursor.fetchall()}
        tables = {table for table, _ in found}
        assert found == {(table, trigger) for table in tables for trigger in triggers.TRIGGERS}
        return tables

    migrate = sync_to_async(call_command)
    tables = await present()
    assert tables >= {"items_item", "auth_user"}
    assert "auth_group" not in tables
    live, settings.LIVE_MODELS = settings.LIVE_MODELS, ["auth.Group"]
    settings.VIEWER_MODELS = ["auth.User"]
    await migrate("migrate", verbosity=0)
    assert await present() == {"auth_user", "auth_group"}
    settings.LIVE_MODELS, settings.VIEWER_MODELS = live, None
    await migrate("migrate", verbosity=0)
    assert await present() == tables


@pytest.mark.only("postgresql")
async def test_missing_trigger_is_reported(
    postgresql: PostgreSQL, item: Item, caplog: pytest.LogCaptureFixture
) -> None:
    @sync_to_async
    def execute(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    check = sync_to_async(partial(triggers.check_triggers, databases=["default"]))
    assert await check() == []
    await execute("ALTER TABLE items_item DISABLE TRIGGER live_update")
    try:
        (warning,) = await check()
        assert "Changes of items_item in the database 'default' are not announced" in warning.msg
        async with aclosing(backend_for("default").changes()) as changes:  # type: ignore[type-var]
            assert await anext(changes) is None
    finally:
        await execute("ALTER TABLE items_item ENABLE TRIGGER live_update")
    assert "items_item will not announce changes" in caplog.text


@pytest.mark.only("postgresql")
async def test_trigger_that_goes_is_noticed_and_one_that_comes_back(
    postgresql: PostgreSQL,
    item: Item,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @sync_to_async
    def execute(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    monkeypatch.setattr(listener, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(postgresql_module, "TRIGGERS_SECONDS", 0)
    feed = Feed(backend_for("default"))
    clients = Clients(1, Authentication(DjangoSessions()))
    transport = httpx.ASGITransport(Starlette(routes=health.routes(feed, clients)))
    client = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    async def becomes(status: int) -> str:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await client.get("/health/ready")
            while answer.status_code != status:
                await asyncio.sleep(0.02)
                answer = await client.get("/health/ready")
        return answer.text

    async with feed, client:
        watch = feed.watch(Item)
        await becomes(200)
        try:
            await execute("ALTER TABLE items_item DISABLE TRIGGER live_update")
            assert "changes of items_item: run migrate" in await becomes(503)
            await asyncio.sleep(0.5)  # some looks
            assert caplog.text.count("items_item will not announce changes") == 1
            await anext(watch)
            await Item.objects.aupdate(state="DONE")
        finally:
            await execute("ALTER TABLE items_item ENABLE TRIGGER live_update")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await anext(watch)  # what was written in between is not missed
        await becomes(200)


async def test_watch_yields_at_once_and_after_each_change(item: Item) -> None:
    async with Feed(backend_for("default")) as feed:
        watch = feed.watch(Item)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await anext(watch)
            await anext(watch)  # on connecting, everything counts as changed
            for state in ("DONE", "OPEN"):
                await Item.objects.aupdate(state=state)
                await anext(watch)


async def test_watch_of_a_model_that_is_not_live_is_refused(transactional_db: None) -> None:
    feed = Feed(backend_for("default"))
    with pytest.raises(ImproperlyConfigured, match=r'Add "auth\.Group" to LIVE_MODELS'):
        feed.watch(Group)


def test_unknown_live_model_is_a_system_check_error(settings: Settings) -> None:
    settings.LIVE_MODELS = ["items.Item", "items.Invoice", "nonsense"]
    errors = checks.check_models()
    assert [error.id for error in errors] == ["live.E001", "live.E001"]


@pytest.mark.only("postgresql")
async def test_unwatched_tables_wake_nobody_on_postgresql(
    postgresql: PostgreSQL, item: Item
) -> None:
    async with Feed(backend_for("default")) as feed:
        users, items = feed.watch(User), feed.watch(Item)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await anext(users)
            await anext(items)
            await anext(users)  # on connecting, everything counts as changed
            await anext(items)
            await Item.objects.aupdate(state="DONE")
            await anext(items)
            waiting = asyncio.ensure_future(anext(users))
            await Group.objects.acreate(name="g")
            await Item.objects.aupdate(state="OPEN")
            await anext(items)
            assert not waiting.done()
            await User.objects.acreate(username="another")
            await waiting


async def test_ended_watch_is_forgotten(transactional_db: None) -> None:
    feed = Feed(backend_for("default"))
    watch = feed.watch(Item)
    assert len(feed.waiters) == 1
    assert feed.index.waiting_for_every_change() == {"items_item": 1}
    del watch
    assert len(feed.waiters) == 0
    assert feed.index.waiting_for_every_change() == {}


@pytest.mark.only("postgresql")
async def test_idle_server_runs_no_query_on_postgresql(
    postgresql: PostgreSQL, socket: Socket, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as observer:
        # A backend reports its queries when it has been idle for a second.
        await asyncio.sleep(1.5)
        before = await _last_query(observer)
        await asyncio.sleep(3)
        assert await _last_query(observer) == before


async def _last_query(observer: psycopg.AsyncConnection[tuple[object, ...]]) -> object:
    cursor = await observer.execute(
        "SELECT max(query_start) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND application_name <> 'change feed'"  # which says now and then that it is there
    )
    return (await cursor.fetchone() or (None,))[0]


@pytest.mark.only("postgresql")
async def test_many_subscriptions_hold_few_connections(
    postgresql: PostgreSQL, start_server: StartServer, item: Item, database_url: str
) -> None:
    """200 distinct ones, so that nothing is shared."""
    budget = {"GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER": "200"}  # and all at once
    server = start_server(DEBUG="true", OPEN_ACCESS="true", **budget)
    async with connect(server.websocket) as first, connect(server.websocket) as second:
        for n, each in enumerate((first, second)):
            for size in range(n * 100 + 1, n * 100 + 101):
                await each.subscribe(f"subscription {{ items(first: {size}) {{ id }} }}")
        for each in (first, second):
            for _ in range(100):
                await each.next()
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as observer:
            cursor = await observer.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
                [f"server {server.port}"],
            )
            (count,) = await cursor.fetchone() or (0,)
        assert 1 <= count <= 8  # DATABASE_POOL_SIZE


@pytest.mark.only("postgresql")
async def test_subscribers_survive_a_restart_of_postgresql(
    restartable: PostgreSQL, start_server: StartServer, item: Item
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    async with connect(server.websocket) as socket:
        await socket.subscribe(NEWEST)
        await socket.next()
        await sync_to_async(disconnect)()
        await asyncio.to_thread(restartable.crash)
        await sync_to_async(disconnect)()
        await Item.objects.aupdate(state="DONE")
        assert (await socket.next(30))["item"]["state"] == "DONE"
        for _ in range(8):
            answer = await post(server.http, "{ items { state } }")
            assert answer == {"data": {"items": [{"state": "DONE"}]}}


@pytest.mark.only("postgresql")
async def test_outage_of_postgresql_is_told_and_survived(
    restartable: PostgreSQL, start_server: StartServer, item: Item
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    ready = f"http://127.0.0.1:{server.port}/health/ready"
    async with connect(server.websocket) as socket, httpx.AsyncClient() as client:
        await socket.subscribe(NEWEST)
        await socket.next()
        await sync_to_async(disconnect)()
        await asyncio.to_thread(restartable.stop)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await client.get(ready)).status_code == 200:
                    pass
            (error,) = (await post(server.http, "{ items { state } }"))["errors"]
            assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        finally:
            await asyncio.to_thread(restartable.start)
        await sync_to_async(disconnect)()
        await Item.objects.aupdate(state="DONE")
        assert (await socket.next(30))["item"]["state"] == "DONE"
        assert (await client.get(ready)).status_code == 200
    assert server.log.count("lost the database, reconnecting") == 1


def disconnect() -> None:
    """Let this thread, and the pool, forget connections that a restart breaks."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def restartable(postgresql: PostgreSQL, transactional_db: None) -> Iterator[PostgreSQL]:
    """A PostgreSQL server that the test restarts."""
    yield postgresql
    disconnect()


@pytest.mark.only("sqlite")
async def test_replaced_sqlite_file_is_noticed(transactional_db: None, tmp_path: Path) -> None:
    path, backup = tmp_path / "live.sqlite3", tmp_path / "backup.sqlite3"
    for each in (path, backup):
        with closing(sqlite3.connect(each)) as database:
            database.execute("CREATE TABLE a (b)")
    async with Feed(SQLiteBackend(str(path))) as feed:
        watch = feed.watch(Item)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await anext(watch)
            await anext(watch)
            shutil.move(backup, path)
            await anext(watch)  # reconnected
            with closing(sqlite3.connect(path)) as database:
                database.execute("INSERT INTO a VALUES (1)")
                database.commit()
            await anext(watch)


@pytest.mark.parametrize("name", [":memory:", "file:test?mode=memory&cache=shared"])
@pytest.mark.only("sqlite")
def test_sqlite_in_memory_is_refused(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="Name a file"):
        SQLiteBackend(name).check()


class NeverThere:
    """A database that cannot be reached, however often one tries."""

    is_precise = False
    silent_tables: frozenset[str] = frozenset()
    hearing = Hearing()

    def __init__(self) -> None:
        self.attempts = 0
        self.was_tried_often = asyncio.Event()

    def check(self) -> None:
        """Nothing is wrong with it."""

    async def changes(self) -> AsyncIterator[list[Change] | None]:
        self.attempts += 1
        if self.attempts == 2000:
            self.was_tried_often.set()
        if self.attempts < 0:
            yield None
        raise ConnectionError("not there")


async def test_feed_never_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after thousands of attempts either: the pause between them must not overflow."""
    monkeypatch.setattr(background, "MAX_PAUSE_SECONDS", 0.0)
    backend = NeverThere()
    async with Feed(backend) as feed, asyncio.timeout(PATIENCE_SECONDS):
        await backend.was_tried_often.wait()
        assert not feed.is_connected
