"""A replica dies, becomes a primary or belongs to another history, and nobody misses anything."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from app import checks
from app.changes import listener
from app.changes.feed import Feed, backend_for
from app.changes.routing import replica_read
from app.database.calls import call
from app.database.lifespan import opened
from tests.clients import PATIENCE_SECONDS
from tests.conftest import TEST_DATABASE, launcher
from tests.items.models import Item
from tests.postgresql import PostgreSQL
from tests.replicas.conftest import aliases, following, replicas_of, trusted, until, write
from tests.replication import Standby, standby
from tests.server import Server

pytestmark = pytest.mark.only("postgresql")

SLEEPERS = "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND wait_event = 'PgSleep'"


async def test_replica_that_dies_is_left_out_and_comes_back(
    replica: Standby, owner: User, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(owner) as (feed, [follower]):
        await write(owner, "before")
        await follower.sees("before")
        rounds = len(follower.servers)
        await sync_to_async(replica.kill)()
        # What was read there is read again, since the next of this name may have less.
        await until(lambda: len(follower.servers) > rounds)
        assert follower.server() is None
        await write(owner, "without")
        await follower.sees("before", "without")
        await sync_to_async(replica.start)()
        await trusted(feed)
        await write(owner, "after")
        await follower.sees("before", "without", "after")
        assert follower.server() == "replica1"
    told = [each.message for each in caplog.records if "replica1" in each.message]
    assert [each.partition(".")[0] for each in told] == [
        "Replica replica1: sources read there",
        "Replica replica1: sources read from the primary instead",
        "Replica replica1: sources read there",
    ]


async def test_replica_that_becomes_a_primary_is_left_out(
    own_replica: Standby, owner: User
) -> None:
    async with following(owner) as (_, [follower]):
        await sync_to_async(own_replica.promote)()
        for number in range(3):
            await write(owner, f"{number}")
            await follower.sees(*(f"{each}" for each in range(number + 1)))
        assert follower.server() is None


def test_check_tells_a_database_that_is_no_standby(own_replica: Standby) -> None:
    assert checks.check_standbys(databases=["default", "replica1"]) == []
    own_replica.promote()
    [warning] = checks.check_standbys(databases=["default", "replica1"])
    assert warning.id == "live.W006"
    assert checks.check_standbys(databases=["default"]) == []


@pytest.fixture
def failover(
    postgresql: PostgreSQL, owner: User, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[Standby, Standby]]:
    """A replica that was ahead when another became the primary, and a replica of that one."""
    with (
        standby(postgresql) as promoted,
        standby(postgresql) as ahead,
        standby(postgresql, promoted) as cascading,
        aliases(settings, ahead, cascading),
        django_db_blocker.unblock(),
    ):
        promoted.promote()
        settings.DATABASE_LISTEN_URL = promoted.url(TEST_DATABASE)
        with psycopg.connect(postgresql.url("postgres"), autocommit=True) as lost:
            lost.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
        yield ahead, cascading


async def test_replica_of_another_history_is_not_trusted_however_far_it_is(
    failover: tuple[Standby, Standby], settings: Settings
) -> None:
    settings.LIVE_REPLICA_SECONDS = 1.0
    ahead, _ = failover
    async with Feed(backend_for("default")) as feed:
        first, second = replicas_of(feed).all
        await until(lambda: second.serves)
        await until(lambda: first.is_told)
        assert (first.serves, second.serves) == (False, True)
        position = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint"
        assert ahead.execute(position)[0][0] > replicas_of(feed).position + 900_000


def sleep(alias: str) -> None:
    """Make a query that takes long."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


async def test_query_on_a_replica_that_is_frozen_fails_instead_of_waiting_for_ever(
    replica: Standby, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "ANSWER_SECONDS", 0.5)
    async with opened(threads=2), Feed(backend_for("default")) as feed:
        await trusted(feed)
        watch = feed.watch(Item)
        await anext(watch)
        assert replica_read() == "replica1"
        waiting = asyncio.create_task(call("replica1", sleep, "replica1"))
        await until(lambda: bool(replica.execute(SLEEPERS)))
        replica.freeze()
        try:
            await write(owner, "unseen there")
            # Somebody else who is woken finds out that it does not answer.
            async with asyncio.timeout(PATIENCE_SECONDS):
                await anext(watch)
                assert replica_read() is None
                with pytest.raises(OperationalError):
                    await waiting
            assert await Item.objects.aexists()
        finally:
            replica.thaw()
            # Replay would wait for it, though nobody does any more.
            replica.execute(SLEEPERS.replace("FROM", "pg_terminate_backend(pid) FROM"))


class CountingServer(Server):
    """It counts items, on a replica for longer than replay waits."""

    application = "tests.replicas.asgi:application"


@pytest.fixture
def impatient(postgresql: PostgreSQL, owner: User) -> Iterator[Standby]:
    """A replica whose replay waits for no query, and which is told of none."""
    with standby(postgresql, max_standby_streaming_delay="0") as found:
        yield found


async def test_query_that_replay_cancels_is_made_at_the_primary(
    impatient: Standby, owner: User, database_url: str, server_folder: Path
) -> None:
    await write(owner, "dead by the time of VACUUM")
    await write(owner, "alive")
    with launcher(database_url, server_folder) as start:
        server = start(
            CountingServer, DEBUG="true", OPEN_ACCESS="true", LIVE_REPLICA_SECONDS="10",
            DATABASE_REPLICA_URLS=impatient.url(TEST_DATABASE),
        )  # fmt: skip
        await asyncio.to_thread(server.wait_for_log, "Replica replica1: sources read there.")
        transport = WebsocketsTransport(server.websocket, subprotocols=["graphql-transport-ws"])
        async with asyncio.timeout(PATIENCE_SECONDS), Client(transport=transport) as session:
            results = session.subscribe(gql("subscription { count }"))
            first = asyncio.ensure_future(anext(results))
            await until(lambda: bool(impatient.execute(SLEEPERS)))
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as own:
                await own.execute("DELETE FROM items_item WHERE name LIKE 'dead%'")
                await own.execute("VACUUM items_item")
            assert await first == {"count": 1}
            await results.aclose()
        assert "conflict with recovery" in server.log


async def test_python_client_follows_a_replica_that_lags(
    postgresql: PostgreSQL, owner: User, database_url: str, server_folder: Path
) -> None:
    mutation = gql('mutation { createItem(owner: "ada", name: "by a mutation") { name } }')
    with (
        standby(postgresql, recovery_min_apply_delay="300ms") as late,
        launcher(database_url, server_folder) as start,
    ):
        server = start(
            Server, DEBUG="true", OPEN_ACCESS="true", LIVE_REPLICA_SECONDS="10",
            DATABASE_REPLICA_URLS=late.url(TEST_DATABASE),
        )  # fmt: skip
        await asyncio.to_thread(server.wait_for_log, "Replica replica1: sources read there.")
        transport = WebsocketsTransport(server.websocket, subprotocols=["graphql-transport-ws"])
        async with asyncio.timeout(PATIENCE_SECONDS), Client(transport=transport) as session:
            results = session.subscribe(gql("subscription { items { name } }"))
            assert await anext(results) == {"items": []}
            await session.execute(mutation)
            # A query is answered by the primary, and so knows of it at once.
            names = {"items": [{"name": "by a mutation"}]}
            assert await session.execute(gql("{ items { name } }")) == names
            assert await anext(results) == names
            await Item.objects.all().aupdate(name="by a process that knows of no server")
            assert (await anext(results))["items"][0]["name"].startswith("by a process")
            await results.aclose()
        asked = (
            f"SELECT query FROM pg_stat_activity WHERE application_name = 'server {server.port}'"
        )
        assert any("items_part" in query for (query,) in late.execute(asked))
