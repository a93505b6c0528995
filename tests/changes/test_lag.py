"""How late changes are heard of is told as it is, or as more, and never as less."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from app.changes import triggers
from app.changes.feed import Feed, backend_for
from app.changes.hearing import Hearing
from tests.changes.test_changes import disconnect
from tests.changes.test_listener import connected, followed, insert, row
from tests.clients import PATIENCE_SECONDS
from tests.items.models import Item
from tests.postgresql import PostgreSQL

OPEN_SECONDS = 0.5
SLEEP = f"SELECT pg_sleep({OPEN_SECONDS})"


@pytest.fixture
def owner(transactional_db: None) -> int:
    return int(User.objects.create_user("ada").pk)


def count(hearing: Hearing) -> int:
    return sum(hearing.lag.counts)


async def until_counted(hearing: Hearing, number: int) -> float:
    """Wait for so many observations. Return the sum of all."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while count(hearing) < number:  # noqa: ASYNC110 - it is for /metrics, which has no events
            await asyncio.sleep(0.01)
    assert count(hearing) == number
    return hearing.lag.sum


async def lag_of_open_transaction(url: str, owner: int) -> float:
    """The lag of a change that was committed long after it was written."""
    async with followed(url) as found, connected(url) as own:
        before, total = count(found.listener.hearing), found.listener.hearing.lag.sum
        await own.execute("BEGIN")
        key = await insert(own, owner)
        await own.execute(SLEEP)
        await own.execute("COMMIT")
        await found.until(lambda: row(key, owner) in found.changes)
        return await until_counted(found.listener.hearing, before + 1) - total


@pytest.mark.only("postgresql")
async def test_short_transaction_is_heard_of_at_once(database_url: str, owner: int) -> None:
    async with followed(database_url) as found, connected(database_url) as own:
        before = count(found.listener.hearing)
        await insert(own, owner)
        seconds = await until_counted(found.listener.hearing, before + 1)
    assert 0 < seconds < OPEN_SECONDS


@pytest.mark.only("postgresql")
async def test_long_transaction_counts_from_its_statement(database_url: str, owner: int) -> None:
    assert await lag_of_open_transaction(database_url, owner) >= OPEN_SECONDS


@pytest.mark.only("postgresql")
async def test_what_a_look_did_not_see_is_younger(database_url: str, owner: int) -> None:
    async with (
        followed(database_url) as found,
        connected(database_url) as own,
        connected(database_url) as other,
    ):
        hearing = found.listener.hearing
        await own.execute("BEGIN")
        key = await insert(own, owner)
        await own.execute(SLEEP)
        before, total = count(hearing), hearing.lag.sum
        seen = await insert(other, owner)
        await found.until(lambda: row(seen, owner) in found.changes)
        first = await until_counted(hearing, before + 1) - total
        await own.execute("COMMIT")
        await found.until(lambda: row(key, owner) in found.changes)
        second = await until_counted(hearing, before + 2) - total - first
    assert first < OPEN_SECONDS
    assert second < OPEN_SECONDS


@pytest.fixture
def commit_times(postgresql: PostgreSQL, transactional_db: None) -> Iterator[None]:
    """PostgreSQL keeps when transactions were committed."""

    def set_to(value: str) -> None:
        with psycopg.connect(postgresql.url("postgres"), autocommit=True) as own:
            own.execute(f"ALTER SYSTEM SET track_commit_timestamp = {value}")
        disconnect()
        postgresql.stop()
        postgresql.start()

    set_to("on")
    yield
    set_to("off")
    disconnect()


@pytest.mark.only("postgresql")
async def test_commit_counts_where_its_time_is_kept(commit_times: None, database_url: str) -> None:
    owner = await sync_to_async(User.objects.create_user)("ada")
    assert await lag_of_open_transaction(database_url, int(owner.pk)) < OPEN_SECONDS


@pytest.mark.only("postgresql")
async def test_table_of_a_version_before_is_followed_and_completed(
    database_url: str, owner: int
) -> None:
    async with connected(database_url) as own:
        await own.execute(f"ALTER TABLE {triggers.TABLE} DROP COLUMN written_at")
        try:
            async with followed(database_url) as found:
                key = await insert(own, owner)
                await found.until(lambda: row(key, owner) in found.changes)
                assert count(found.listener.hearing) == 0
        finally:
            await sync_to_async(triggers.synchronize)("default")
        async with followed(database_url) as found:
            before = count(found.listener.hearing)
            await insert(own, owner)
            await until_counted(found.listener.hearing, before + 1)


@pytest.mark.only("postgresql")
async def test_migrate_keeps_no_writer_waiting_for_the_column(
    database_url: str, owner: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triggers, "LOCK_MS", 100)
    async with connected(database_url) as own:
        await own.execute(f"ALTER TABLE {triggers.TABLE} DROP COLUMN written_at")
        try:
            await own.execute("BEGIN")
            await own.execute(f"INSERT INTO {triggers.TABLE} (relation) VALUES ('[\"any\"]')")
            await sync_to_async(triggers.synchronize)("default")
            assert "live_change has no column written_at yet" in caplog.text
            await own.execute("COMMIT")
        finally:
            await sync_to_async(triggers.synchronize)("default")
        await own.execute(f"SELECT written_at FROM {triggers.TABLE}")


@pytest.mark.only("sqlite")
async def test_sqlite_counts_from_the_poll_before(owner: int) -> None:
    async with Feed(backend_for("default")) as feed:
        hearing = feed.backend.hearing
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not feed.is_connected:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        await Item.objects.acreate(owner_id=owner)
        assert 0 < await until_counted(hearing, 1) < OPEN_SECONDS
