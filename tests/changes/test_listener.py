"""What the listener is told of transactions of every kind, and what it leaves behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command

from app.changes import listener as listener_module
from app.changes.change import Change
from app.changes.listener import Listener, Look, Pace, Snapshot
from app.changes.triggers import ABSENT_MS, CHANNEL, LEASE_MS, MAX_ROWS
from tests.clients import PATIENCE_SECONDS

pytestmark = pytest.mark.only("postgresql")

Told = list[Change] | None
Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
def owner(postgresql: object, transactional_db: None) -> int:
    """A user's key."""
    return int(User.objects.create_user("ada").pk)


class Followed:
    """What a listener has told so far."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.told: list[Told] = []
        self._more = asyncio.Event()

    async def follow(self) -> None:
        async with aclosing(self.listener.follow()) as items:  # type: ignore[type-var]
            async for changes in items:
                self.told.append(changes)
                self._more.set()

    @property
    def changes(self) -> set[Change]:
        """Everything that was told by name."""
        return {change for changes in self.told for change in changes or ()}

    @property
    def alarms(self) -> int:
        """How often everything counted as changed."""
        return self.told.count(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def begun(url: str, *, is_notified: bool = True) -> AsyncIterator[Followed]:
    """A listener that has begun; the end of what was under way then, it tells as an alarm."""
    async with connected(url) as own:
        await own.execute(f"LISTEN {CHANNEL}")
        found = Followed(Listener(own, is_notified=is_notified))
        task = asyncio.create_task(found.follow())
        try:
            await found.until(lambda: bool(found.told))
            yield found
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()


@asynccontextmanager
async def followed(url: str, *, is_notified: bool = True) -> AsyncIterator[Followed]:
    """A listener that tells changes by name from now on and, if nothing changes, sleeps.

    An ANALYZE of the server's own may be under way when it begins: then an alarm stands for what
    has changed until the next look.
    """
    async with begun(url, is_notified=is_notified) as found, connected(url) as own:
        cursor = await own.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
        bound = await cursor.fetchone()
        ended = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::xid8"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await (await own.execute(ended, bound)).fetchone() != (True,):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        looks = found.listener.looks
        await own.execute(f"NOTIFY {CHANNEL}")
        await found.until(lambda: len(found.told) > looks)
        yield found


def row(key: object, owner: object) -> Change:
    return Change("items_item", ("id", "owner_id"), (str(key), str(owner)))


FAR = 1_000_000
"""From here on, keys do not meet those that the database gives."""
INSERT = "INSERT INTO items_item (name, state, owner_id) VALUES ('n', 'OPEN', %s) RETURNING id"


async def insert(connection: Connection, owner: int) -> int:
    found = await (await connection.execute(INSERT, [owner])).fetchone()
    return int(found[0]) if found else -1


async def write(url: str, owner: int, seed: int, committed: set[int], undone: set[int]) -> None:
    """Random transactions: isolation levels, savepoints, pauses, rollbacks."""
    chance = random.Random(seed)
    async with connected(url) as own:
        for _ in range(40):
            level = chance.choice(["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
            await own.execute(f"BEGIN ISOLATION LEVEL {level}")
            if chance.random() < 0.3:
                await own.execute("SELECT count(*) FROM auth_group")  # takes the snapshot early
                await asyncio.sleep(chance.choice([0, 0.01]))
            kept, dropped = set(), set()
            for _ in range(chance.randint(1, 3)):
                if chance.random() < 0.4:
                    await own.execute("SAVEPOINT s")
                    key = await insert(own, owner)
                    if chance.random() < 0.5:
                        await own.execute("ROLLBACK TO s")
                        dropped.add(key)
                    else:
                        kept.add(key)
                else:
                    kept.add(await insert(own, owner))
                await asyncio.sleep(chance.choice([0, 0, 0.005, 0.03]))
            if chance.random() < 0.15:
                await own.execute("ROLLBACK")
                undone |= kept | dropped
            else:
                await own.execute("COMMIT")
                committed |= kept
                undone |= dropped
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.1]))


async def test_all_that_was_committed_is_told_and_nothing_else(
    owner: int, database_url: str
) -> None:
    committed: set[int] = set()
    undone: set[int] = set()
    async with followed(database_url) as first, followed(database_url, is_notified=False) as second:
        async with asyncio.TaskGroup() as writers:
            for seed in range(8):
                writers.create_task(write(database_url, owner, seed, committed, undone))
        expected = {row(key, owner) for key in committed}
        assert len(expected) > 300
        for each in (first, second):
            await each.until(lambda each=each: each.changes >= expected)  # type: ignore[misc]
            assert each.changes == expected, "something was told that was rolled back"
            told = [change for changes in each.told for change in changes or ()]
            assert len(told) == len(expected), "something was told twice"
    assert undone


async def test_idle_listener_only_looks_at_heartbeats(owner: int, database_url: str) -> None:
    async with followed(database_url) as found, connected(database_url) as writer:
        await insert(writer, owner)
        await found.until(lambda: bool(found.changes))
        await asyncio.sleep(0.3)
        looks = found.listener.looks
        await asyncio.sleep(1)
        assert found.listener.looks == looks


async def test_fast_changes_are_looked_for_without_being_notified_and_then_it_sleeps(
    owner: int, database_url: str
) -> None:
    async with followed(database_url) as found, connected(database_url) as writer:
        keys = {row(await insert(writer, owner), owner) for _ in range(300)}
        await found.until(lambda: found.changes >= keys)
        assert found.listener.looks < 150
        async with asyncio.timeout(PATIENCE_SECONDS):
            looks = -1
            while looks != found.listener.looks:
                looks = found.listener.looks
                await asyncio.sleep(0.3)
        last = row(await insert(writer, owner), owner)
        await found.until(lambda: last in found.changes)


async def test_transaction_that_stays_open_delays_nobody(owner: int, database_url: str) -> None:
    async with (
        connected(database_url) as slow,
        connected(database_url) as quick,
        followed(database_url) as found,
    ):
        await slow.execute("BEGIN")
        late = row(await insert(slow, owner), owner)
        early = row(await insert(quick, owner), owner)
        await found.until(lambda: early in found.changes)
        assert late not in found.changes
        await slow.execute("COMMIT")
        await found.until(lambda: late in found.changes)


async def test_transaction_that_found_nobody_listening_is_told_of(
    owner: int, database_url: str
) -> None:
    async with connected(database_url) as writer, connected(database_url) as other:
        await other.execute("SELECT setval('live_lease', 0)")
        await other.execute("TRUNCATE live_change")
        await writer.execute("BEGIN")
        await insert(writer, owner)
        async with begun(database_url) as found:
            assert found.told[0] is None
            assert found.alarms == 1
            await writer.execute("COMMIT")
            await found.until(lambda: found.alarms == 2)


async def test_nothing_is_written_down_while_nobody_listens(owner: int, database_url: str) -> None:
    async with connected(database_url) as writer:
        now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        for age, expected in ((ABSENT_MS + 1000, 0), (ABSENT_MS - 5000, 1)):
            await writer.execute("TRUNCATE live_change")
            await writer.execute(f"SELECT setval('live_lease', {now} - {age})")
            await insert(writer, owner)
            cursor = await writer.execute("SELECT count(*) FROM live_change")
            assert await cursor.fetchone() == (expected,)


async def test_lease_from_before_the_clock_went_back_silences_nobody(
    owner: int, database_url: str
) -> None:
    async with connected(database_url) as writer, connected(database_url) as sleeper:
        await sleeper.execute(f"LISTEN {CHANNEL}")
        now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        # The first is one that holds, the other an hour's.
        for ahead, expected in ((LEASE_MS, 0), (3_600_000, 1)):
            await writer.execute(f"SELECT setval('live_lease', {now} + {ahead})")
            await insert(writer, owner)
            told = [each async for each in sleeper.notifies(timeout=0.3, stop_after=1)]
            assert len(told) == expected


async def by_update(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute("UPDATE items_item SET owner_id = %s WHERE id = %s", [other, key])
    return {row(key, owner), row(key, other)}


async def by_update_in_place(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute("UPDATE items_item SET name = 'm'")
    return {row(key, owner)}


async def by_delete(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute("DELETE FROM items_item")
    return {row(key, owner)}


async def by_truncate(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute("TRUNCATE items_item CASCADE")
    return {Change("items_item"), Change("items_part")}


async def by_upsert(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    values = f"({key}, 'm', 'OPEN', {other}), ({FAR}, 'm', 'OPEN', {other})"
    await own.execute(
        f"INSERT INTO items_item (id, name, state, owner_id) VALUES {values} "
        "ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id"
    )
    return {row(key, owner), row(key, other), row(FAR, other)}


async def by_merge(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute(
        f"MERGE INTO items_item USING (SELECT {key} AS k) ON id = k "
        f"WHEN MATCHED THEN UPDATE SET owner_id = {other}"
    )
    return {row(key, owner), row(key, other)}


async def by_copy(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    async with own.cursor() as cursor:
        statement = "COPY items_item (id, name, state, owner_id) FROM STDIN"
        async with cursor.copy(statement) as copy:
            await copy.write_row((FAR, "m", "OPEN", other))
    return {row(FAR, other)}


async def by_cascade(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    """What a foreign key of the database deletes, since Django's own cascades are statements."""
    await own.execute(
        "ALTER TABLE items_part ADD CONSTRAINT gone FOREIGN KEY (item_id) "
        "REFERENCES items_item ON DELETE CASCADE"
    )
    await own.execute("INSERT INTO items_part (id, name, item_id) VALUES (77, 'p', %s)", [key])
    try:
        await own.execute("DELETE FROM items_item")
    finally:
        await own.execute("ALTER TABLE items_part DROP CONSTRAINT gone")
    return {row(key, owner), Change("items_part", ("id", "item_id"), ("77", str(key)))}


async def by_many_rows(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    rows = f"SELECT 'm', 'OPEN', {other} FROM generate_series(1, {MAX_ROWS + 1})"
    await own.execute(f"INSERT INTO items_item (name, state, owner_id) {rows}")
    return {Change("items_item")}


async def by_as_many_as_are_told(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    rows = f"SELECT n, 'm', 'OPEN', {other} FROM generate_series({FAR + 1}, {FAR + MAX_ROWS - 1}) n"
    await own.execute(f"INSERT INTO items_item (id, name, state, owner_id) {rows}")
    await own.execute("UPDATE items_item SET name = 'k'")
    told = {row(each, other) for each in range(FAR + 1, FAR + MAX_ROWS)}
    return told | {row(key, owner)}


async def by_writable_query(own: Connection, key: int, owner: int, other: int) -> set[Change]:
    await own.execute(
        f"WITH gone AS (DELETE FROM items_item RETURNING id) "
        f"UPDATE auth_user SET last_name = 'x' FROM gone WHERE auth_user.id = {other}"
    )
    return {row(key, owner), Change("auth_user", ("id",), (str(other),))}


@pytest.mark.parametrize(
    "change",
    [
        by_update, by_update_in_place, by_delete, by_truncate, by_upsert, by_merge, by_copy,
        by_cascade, by_many_rows, by_as_many_as_are_told, by_writable_query,
    ],
)  # fmt: skip
async def test_statement_of_every_kind_is_told(
    change: Callable[[Connection, int, int, int], Awaitable[set[Change]]],
    owner: int,
    database_url: str,
) -> None:
    other = int((await sync_to_async(User.objects.create_user)("bob")).pk)
    async with connected(database_url) as own:
        key = await insert(own, owner)
        async with followed(database_url) as found:
            expected = await change(own, key, owner, other)
            end = await insert(own, owner)
            await found.until(lambda: row(end, owner) in found.changes)
            told = found.changes - {row(end, owner)}
            if change is by_cascade:
                told -= {Change("items_part", ("id", "item_id"), ("77", str(key)))}
                expected = {each for each in expected if each.table != "items_part"} | told
            assert told == expected


async def test_statement_without_a_row_says_nothing(owner: int, database_url: str) -> None:
    async with connected(database_url) as own, followed(database_url) as found:
        await own.execute("UPDATE items_item SET name = 'm' WHERE id = -1")
        await own.execute("DELETE FROM items_item WHERE id = -1")
        await own.execute("INSERT INTO items_item SELECT * FROM items_item WHERE id = -1")
        end = row(await insert(own, owner), owner)
        await found.until(lambda: bool(found.changes))
        assert found.changes == {end}


async def test_role_without_rights_on_the_table_of_changes_may_write(
    owner: int, database_url: str
) -> None:
    async with connected(database_url) as own, followed(database_url) as found:
        await own.execute("DROP ROLE IF EXISTS stranger")
        await own.execute("CREATE ROLE stranger")
        try:
            await own.execute("GRANT ALL ON items_item, items_item_id_seq TO stranger")
            await own.execute("CREATE SCHEMA IF NOT EXISTS evil AUTHORIZATION stranger")
            await own.execute("SET ROLE stranger")
            # What stands before the catalogue in the writer's search path must mean nothing.
            await own.execute(
                "CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql "
                "AS $$ BEGIN RAISE 'called with the rights of the owner'; END $$"
            )
            await own.execute("SET search_path = evil, pg_catalog, public")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await own.execute("SELECT * FROM live_change")
            key = await insert(own, owner)
        finally:
            await own.execute("RESET ROLE; RESET search_path")
            await own.execute("DROP OWNED BY stranger CASCADE; DROP ROLE stranger")
        await found.until(lambda: row(key, owner) in found.changes)


async def test_column_that_is_gone_costs_precision_and_not_the_write(
    owner: int, database_url: str
) -> None:
    async with connected(database_url) as own, followed(database_url) as found:
        await own.execute("ALTER TABLE items_item RENAME COLUMN owner_id TO user_id")
        try:
            await own.execute(INSERT.replace("owner_id", "user_id"), [owner])
        finally:
            await own.execute("ALTER TABLE items_item RENAME COLUMN user_id TO owner_id")
        await found.until(lambda: Change("items_item") in found.changes)


async def test_write_succeeds_without_the_table_of_changes(owner: int, database_url: str) -> None:
    async with connected(database_url) as own:
        await own.execute("DROP TABLE live_change")
        try:
            assert await insert(own, owner)
        finally:
            await sync_to_async(call_command)("migrate", verbosity=0)
        async with followed(database_url) as found:
            key = await insert(own, owner)
            await found.until(lambda: row(key, owner) in found.changes)


async def test_migrate_replaces_what_an_earlier_version_installed(
    owner: int, database_url: str
) -> None:
    async with connected(database_url) as own:
        await own.execute("DROP TABLE live_change CASCADE")
        for name in ("insert", "update", "delete", "truncate"):
            await own.execute(f"DROP TRIGGER live_{name} ON items_item")
        await own.execute(
            "CREATE FUNCTION live_changes_notify() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_notify('live_changes', TG_TABLE_NAME); RETURN NULL; END $$;"
            "CREATE TRIGGER live_changes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE "
            "ON items_item FOR EACH STATEMENT EXECUTE FUNCTION live_changes_notify()"
        )
        await sync_to_async(call_command)("migrate", verbosity=0)
        cursor = await own.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'items_item'::regclass "
            "AND NOT tgisinternal ORDER BY 1"
        )
        names = [name for (name,) in await cursor.fetchall()]
        assert names == ["live_delete", "live_insert", "live_truncate", "live_update"]
        cursor = await own.execute("SELECT to_regproc('live_changes_notify')")
        assert await cursor.fetchone() == (None,)


async def test_rows_are_deleted_when_all_had_time_to_see_them(
    owner: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "PACE_MS", 50)
    monkeypatch.setattr(listener_module, "KEEP_MS", 3000)
    monkeypatch.setattr(listener_module, "HEARTBEAT_SECONDS", 0.1)
    async with connected(database_url) as own, connected(database_url) as slow:

        async def left() -> int:
            cursor = await own.execute("SELECT count(*) FROM live_change")
            (count,) = await cursor.fetchone() or (0,)
            return int(count)

        await own.execute("TRUNCATE live_change")  # those of other tests
        async with followed(database_url), followed(database_url):
            # One that stays open keeps its own row, not those of others.
            await slow.execute("BEGIN")
            await insert(slow, owner)
            for _ in range(20):
                await insert(own, owner)
            assert await left() == 20
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await left():  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.05)
            await slow.execute("COMMIT")
            assert await left() == 1
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await left():  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.05)


def look(xmin: int, xmax: int, under_way: str, at: int, lease: int) -> Look:
    return Look(Snapshot(f"{xmin}:{xmax}:{under_way}"), at, at, lease, 1, 0, 0, [])


def test_who_may_have_kept_silent_is_waited_for() -> None:
    pace = Pace()
    assert not pace.is_quiet(look(10, 10, "", 0, 100)), "the lease holds"
    assert not pace.is_quiet(look(10, 10, "", 101, 100)), "its snapshot may be older than the end"
    assert not pace.is_quiet(look(10, 12, "10", 102, 100)), "10 may have kept silent"
    assert not pace.is_quiet(look(11, 15, "11", 103, 100)), "so may 11"
    assert pace.is_quiet(look(12, 16, "12", 104, 100)), "12 has begun later"
    assert pace.is_quiet(look(12, 16, "12", 105, 100))
    assert not pace.is_quiet(look(12, 16, "12", 400, 300)), "a lease that nobody here has seen"
    assert not pace.is_quiet(look(12, 16, "12", 401, 300))
    assert pace.is_quiet(look(16, 16, "", 402, 300))


def test_numbers_are_ended_only_when_the_next_look_needs_it() -> None:
    pace = Pace()
    expected = [(50, 100, False), (101, 100, True), (102, 300, False), (250, 300, False)]
    expected += [(301, 300, True), (302, 300, False), (303, 300, False)]
    for at, lease, is_needed in expected:
        seen = look(10, 10, "", at, lease)
        pace.is_quiet(seen)
        assert (at, pace.has_to_see_who_is_under_way(seen)) == (at, is_needed)


async def test_newest_transaction_that_kept_silent_is_waited_for(
    owner: int, database_url: str
) -> None:
    """No snapshot shows it as under way, since no transaction with a greater number has ended."""
    async with followed(database_url) as found, connected(database_url) as writer:
        keys = {row(await insert(writer, owner), owner) for _ in range(50)}
        await found.until(lambda: found.changes >= keys)
        await asyncio.sleep(1)  # no more than a part of the lease is left
        now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        await writer.execute(
            f"SELECT setval('live_lease', {now} + 300), pg_notify('{CHANNEL}', '')"
        )
        await writer.execute("BEGIN")
        silent = row(await insert(writer, owner), owner)
        await asyncio.sleep(1.5)  # it sleeps, if it believes the snapshot
        await writer.execute("COMMIT")
        async with asyncio.timeout(listener_module.MAX_PAUSE_SECONDS + 2):
            await found.until(lambda: silent in found.changes)


async def test_transaction_of_very_many_rows_is_told_by_its_tables(
    owner: int, database_url: str
) -> None:
    async with followed(database_url) as found, connected(database_url) as writer:
        many = (
            f"INSERT INTO items_item (name, state, owner_id) "
            f"SELECT 'm', 'OPEN', {owner} FROM generate_series(1, {MAX_ROWS})"
        )
        async with writer.transaction():
            for _ in range(listener_module.MAX_KEYS // MAX_ROWS + 10):
                await writer.execute(many)
        await found.until(lambda: Change("items_item") in found.changes)
        assert len(found.changes) <= listener_module.MAX_KEYS
        last = row(await insert(writer, owner), owner)
        await found.until(lambda: last in found.changes)


async def test_burst_takes_no_lease_when_it_is_over(owner: int, database_url: str) -> None:
    async with followed(database_url) as found, connected(database_url) as writer:
        for _ in range(8):
            await insert(writer, owner)
            await asyncio.sleep(0.015)
        await found.until(lambda: len(found.changes) == 8)
        await asyncio.sleep(2.5)  # one lease, prolonged once
        cursor = await writer.execute(
            "SELECT extract(epoch FROM clock_timestamp()) * 1000 > last_value FROM live_lease"
        )
        assert await cursor.fetchone() == (True,)
