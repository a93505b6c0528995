"""However late a replica is, sources end with what the primary holds."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from pytest_django import Settings

import settings as project
from app.changes.feed import Feed
from app.changes.routing import begin_reading, replica_read
from app.changes.wal import POSITION
from tests.clients import PATIENCE_SECONDS
from tests.conftest import TEST_DATABASE
from tests.items.models import Item
from tests.pgbouncer import pooler
from tests.replicas.conftest import Follower, following, replicas_of, trusted, until, write
from tests.replication import Standby

pytestmark = pytest.mark.only("postgresql")

WRITTEN = "(pg_current_wal_insert_lsn() - '0/0')::bigint"
REPLAYED = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint"


async def test_sources_read_from_the_replica(replica: Standby, owner: User) -> None:
    async with following(owner) as (_, [follower]):
        await write(owner, "first")
        await follower.sees("first")
        assert set(follower.servers) == {"replica1"}


@pytest.fixture
def pooled_replica(pgbouncer: str, replica: Standby, tmp_path: Path) -> Iterator[dict[str, object]]:
    """A replica behind PgBouncer in transaction mode."""
    with pooler(pgbouncer, tmp_path, replica.url(TEST_DATABASE), pool_mode="transaction") as url:
        connections.settings["replica1"].update(
            connections.configure_settings({"default": project.database(url)})["default"]
        )
        yield connections.settings["replica1"]


async def test_pooler_may_stand_before_a_replica(
    pooled_replica: dict[str, object],
    replica: Standby,
    owner: User,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert pooled_replica["HOST"] == "127.0.0.1"
    async with following(owner) as (feed, [follower]):
        await write(owner, "first")
        await follower.sees("first")
        assert set(follower.servers) == {"replica1"}
        # The pooler's connections outlive the server's, and so does what is known of it.
        replica.kill()
        replica.start()
        await write(owner, "second")
        await follower.sees("first", "second")
        await until(lambda: "Another server answers" in caplog.text)
        await trusted(feed)


async def test_replica_that_lags_delays_its_sources_and_nothing_is_lost(
    replica: Standby, owner: User
) -> None:
    replica.set(recovery_min_apply_delay="500ms")
    replica.reload()
    async with following(owner) as (_, [follower]):
        for number in range(3):
            await write(owner, f"{number}")
            await follower.sees(*(f"{each}" for each in range(number + 1)))
        assert set(follower.servers) == {"replica1"}


async def test_replica_that_lags_for_long_is_left_out_until_it_has_caught_up(
    replica: Standby, owner: User, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LIVE_REPLICA_SECONDS = 0.3
    async with following(owner) as (feed, [follower]):
        await sync_to_async(replica.pause)()
        for number in range(3):
            await write(owner, f"{number}")
            await follower.sees(*(f"{each}" for each in range(number + 1)))
            assert follower.server() is None
        settings.LIVE_REPLICA_SECONDS = PATIENCE_SECONDS
        await sync_to_async(replica.resume)()
        await trusted(feed)
        await write(owner, "last")
        await follower.sees("0", "1", "2", "last")
        assert follower.server() == "replica1"
    told = [each.message for each in caplog.records if "replica1" in each.message]
    assert told == [
        "Replica replica1: sources read there.",
        "Replica replica1: sources read from the primary instead. It lags by more than 0.3 s.",
        "Replica replica1: sources read there.",
    ]


async def test_first_read_shows_what_was_announced_before(replica: Standby, owner: User) -> None:
    async with following(owner) as (feed, [first]):
        before = replicas_of(feed).position
        await sync_to_async(replica.pause)()
        await write(owner, "new")
        await until(lambda: replicas_of(feed).position > before)
        # Nobody would wake who registers only now.
        late = Follower(feed, owner)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(late.follow())
            await asyncio.sleep(0)
            await sync_to_async(replica.resume)()
            for each in (first, late):
                await each.sees("new")
            assert late.first_names == ["new"]
            assert set(late.servers) == {"replica1"}
            task.cancel()


async def test_what_is_watched_from_the_middle_of_a_round_on_is_looked_at_again(
    replica: Standby, owner: User
) -> None:
    reads: list[tuple[bool, str | None]] = []
    has_begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def follow(feed: Feed) -> None:
        """As a source that reads first the users, then the items of those."""
        watch = feed.watch(User)
        async for _ in watch:
            has_begun.set()
            await may_go_on.wait()
            items = Item.objects.filter(owner=owner)
            watch.also(items)
            reads.append((await items.aexists(), replica_read()))

    async with following(owner) as (feed, [other]), asyncio.TaskGroup() as group:
        task = group.create_task(follow(feed))
        await has_begun.wait()
        before = replicas_of(feed).position
        await sync_to_async(replica.pause)()
        await write(owner, "meanwhile")
        await until(lambda: replicas_of(feed).position > before)
        may_go_on.set()
        await until(lambda: bool(reads))
        await sync_to_async(replica.resume)()
        await other.sees("meanwhile")
        await until(lambda: reads[-1] == (True, "replica1"))
        assert reads[0] == (False, "replica1")
        task.cancel()


async def test_round_that_was_begun_in_a_task_counts_for_the_whole_source(
    replica: Standby, owner: User
) -> None:
    """As `asyncio.wait_for` does it before Python 3.12, and whoever waits for two watches."""
    async with following(owner) as (feed, _):
        begin_reading()
        watch = feed.watch(Item)
        await asyncio.create_task(anext(watch))
        assert replica_read() == Item.objects.all().db == "replica1"


async def test_what_is_not_flushed_is_flushed_for_the_replica(
    replica: Standby, owner: User, database_url: str
) -> None:
    async with (
        following(owner) as (_, [follower]),
        await psycopg.AsyncConnection.connect(database_url) as writer,
        await psycopg.AsyncConnection.connect(database_url) as under_way,
    ):
        await writer.execute("SET LOCAL synchronous_commit = off")
        await writer.execute(
            "INSERT INTO items_item (name, state, owner_id) VALUES ('n', 'OPEN', %s)", [owner.pk]
        )
        # It has to write after the commit, and before the look.
        await under_way.execute("SAVEPOINT before")
        locking = asyncio.create_task(under_way.execute("LOCK live_change"))
        # A look of the feed may wait behind it, too.
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while (await (await writer.execute(waiting)).fetchone()) == (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await writer.commit()
        await locking
        await under_way.execute("INSERT INTO auth_group (name) VALUES ('never committed')")
        await under_way.execute("ROLLBACK TO before")
        await follower.sees("n")
        assert follower.server() == "replica1"


def test_position_at_the_beginning_of_a_page_is_where_replay_stops(
    replica: Standby, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:

        def number(expression: str) -> int:
            found = own.execute(f"SELECT {expression}".encode()).fetchone()
            return int(found[0]) if found else -1

        def write_bytes(count: int) -> None:
            message = "SELECT pg_logical_emit_message(false, '', repeat('x', %s), flush => true)"
            own.execute(message, [count])

        while number(WRITTEN) % 8192 > 6000:  # or a page's header would count as well
            write_bytes(400)
        before = number(WRITTEN)
        write_bytes(800)
        overhead = number(WRITTEN) - before - 800
        for _ in range(50):  # Somebody else may write meanwhile.
            left = 8192 - number(WRITTEN) % 8192
            write_bytes(left - overhead if left > overhead + 300 else 400)
            position = number(POSITION)
            if number(WRITTEN) - position == 24:
                break
        else:
            pytest.fail("No page was filled exactly.")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while int(replica.execute(REPLAYED)[0][0]) < position:
        assert time.monotonic() < deadline
