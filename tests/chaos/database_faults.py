"""Faults of the database: PostgreSQL's processes and connections, the disk, SQLite's lock."""

import asyncio
import os
import signal
import sqlite3
from contextlib import AsyncExitStack, suppress
from typing import Final

import psycopg

from tests.chaos.cluster import Cluster
from tests.chaos.plan import PlannedFault
from tests.chaos.postgresql import DATABASE
from tests.chaos.stage import Stage

FEED: Final = "application_name = 'change feed'"
FEED_NOTICES_SECONDS: Final = 22.0
"""A heartbeat, the time for its answer, and some to connect."""

POOL_NOTICES_SECONDS: Final = 17.0
"""What settings.py lets a packet be unacknowledged, and some to connect."""


async def stop_database(stage: Stage, fault: PlannedFault) -> None:
    """Stop PostgreSQL as its operator does, and start it again."""
    node = stage.postgresql.primary
    await asyncio.to_thread(node.stop)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(node.start)


async def kill_database(stage: Stage, fault: PlannedFault) -> None:
    """Kill the postmaster, and start it again."""
    node = stage.postgresql.primary
    await asyncio.to_thread(node.stop, signal.SIGKILL)
    await asyncio.sleep(fault.seconds / 4)
    await asyncio.to_thread(node.start)


async def kill_backend(stage: Stage, fault: PlannedFault) -> None:
    """Kill the backend of one connection; PostgreSQL restarts all, and empties unlogged tables."""
    node = stage.postgresql.primary
    rows = await _ask(
        stage,
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() ORDER BY pid",
    )
    if rows:
        os.kill(int(str(rows[fault.number % len(rows)][0])), signal.SIGKILL)
    async with asyncio.timeout(30):
        while True:
            with suppress(psycopg.OperationalError):
                await asyncio.to_thread(node.execute, "SELECT 1")
                return
            await asyncio.sleep(0.1)


async def terminate_connections(stage: Stage, fault: PlannedFault) -> None:
    """End all connections to the database."""
    await _terminate(stage, "true")


async def cut_feed(stage: Stage, fault: PlannedFault) -> None:
    """End the feeds' connections alone."""
    await _terminate(stage, FEED)


async def silence_feed(stage: Stage, fault: PlannedFault) -> None:
    """Let the packets of the single servers' feeds vanish; a heartbeat finds it out."""
    stage.feed.go_silent()
    await asyncio.sleep(FEED_NOTICES_SECONDS)


async def silence_database(stage: Stage, fault: PlannedFault) -> None:
    """Let the packets of the single servers' pools vanish, and those of the writers."""
    stage.database.go_silent()
    await asyncio.sleep(POOL_NOTICES_SECONDS)


async def freeze_database(stage: Stage, fault: PlannedFault) -> None:
    """Stop all processes of PostgreSQL for a while."""
    node = stage.postgresql.primary
    node.signal_all(signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    node.signal_all(signal.SIGCONT)


async def fail_over(stage: Stage, fault: PlannedFault) -> None:
    """Stop the primary, and make the replica the primary at its own address."""
    cluster = stage.postgresql
    await asyncio.to_thread(cluster.primary.stop)
    await _promote(stage, cluster, fault)


async def fail_over_after_crash(stage: Stage, fault: PlannedFault) -> None:
    """Kill the primary while nobody writes, and promote the replica.

    As with synchronous replication, nothing is lost that was acknowledged: who loses commits,
    whatever the database, cannot be judged.
    """
    cluster = stage.postgresql
    async with stage.world.gate.closed():
        await asyncio.to_thread(cluster.catch_up)
        await asyncio.to_thread(cluster.primary.stop, signal.SIGKILL)
        await asyncio.to_thread(cluster.promote)
        stage.database.target = stage.feed.target = cluster.primary.port
    await _rebuild(stage, cluster)


async def fill_pool(stage: Stage, fault: PlannedFault) -> None:
    """Hold all connections that PostgreSQL still gives, one in a transaction that has written."""
    url = stage.postgresql.primary.url
    async with AsyncExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                connecting = psycopg.AsyncConnection.connect(url, connect_timeout=5)
                connection = await stack.enter_async_context(await connecting)
                with suppress(psycopg.errors.QueryCanceled):
                    await connection.execute("SELECT pg_current_xact_id()")
        await asyncio.sleep(fault.seconds)


async def leave_transaction_open(stage: Stage, fault: PlannedFault) -> None:
    """Write an item, and do not commit for a while."""
    url = stage.postgresql.primary.url
    with suppress(psycopg.OperationalError):
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute("UPDATE items_item SET name = 'open' WHERE id % 11 = 0")
            await asyncio.sleep(fault.seconds)


async def lock_database(stage: Stage, fault: PlannedFault) -> None:
    """Hold SQLite's write lock for a while, which may be longer than anybody waits."""

    def begin() -> sqlite3.Connection:
        path = stage.database_url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    connection = await asyncio.to_thread(begin)
    await asyncio.sleep(fault.seconds)
    connection.rollback()
    connection.close()


async def fill_disk(stage: Stage, fault: PlannedFault) -> None:
    """Leave no room on the database's disk; PostgreSQL may end by it, and is started again."""
    disk = stage.disks[stage.cluster.nodes.index(stage.cluster.primary) if stage.cluster else 0]
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(fault.seconds)
    disk.free()
    if stage.cluster is not None:
        node = stage.cluster.primary
        if not node.is_running:
            await asyncio.to_thread(node.start)


async def _promote(stage: Stage, cluster: Cluster, fault: PlannedFault) -> None:
    await asyncio.sleep(fault.seconds / 4)
    await asyncio.to_thread(cluster.promote)
    stage.database.target = stage.feed.target = cluster.primary.port
    await _rebuild(stage, cluster)


async def _rebuild(stage: Stage, cluster: Cluster) -> None:
    stage.database.cut()
    stage.feed.cut()
    await cluster.rebuild()


async def _terminate(stage: Stage, whose: str) -> None:
    await _ask(
        stage,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
        f" AND pid <> pg_backend_pid() AND {whose}",
    )


async def _ask(stage: Stage, statement: str) -> list[tuple[object, ...]]:
    return await asyncio.to_thread(stage.postgresql.primary.execute, statement)
