"""Measure what the change feed costs those who write, with PostgreSQL's own pgbench."""

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from app.changes.listener import Listener
from app.changes.triggers import CHANNEL, TRIGGERS
from benchmarks.database import INSERT_ORDER, PostgreSQLDatabase

NO_TRIGGER: Final = "no trigger"
NOTIFY: Final = "NOTIFY in each transaction"
OURS: Final = "the feed, and a listener"
FEEDS: Final = (NO_TRIGGER, NOTIFY, OURS)
ROWS: Final = 100_000

_NOTIFY = f"""
    CREATE OR REPLACE FUNCTION benchmark_notify() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER benchmark_notify AFTER INSERT ON orders_order
        FOR EACH STATEMENT EXECUTE FUNCTION benchmark_notify();
"""


def measure(
    database: PostgreSQLDatabase, feed: str, writers: int, seconds: int, folder: Path
) -> dict[str, float]:
    """Let `writers` connections insert one order after the other, each in its transaction."""
    database.reset()
    script = folder / "insert.sql"
    script.write_text(INSERT_ORDER.format("'2000-01-01'") + ";\n")
    with _triggers(database.writer_url, feed), _listening(database.writer_url, feed == OURS):
        command = [str(database.programs / "pgbench"), "--no-vacuum", "--protocol=prepared"]
        command += [f"--client={writers}", f"--jobs={min(writers, 2)}", f"--time={seconds}"]
        command += [f"--file={script}", database.writer_url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        "commits_a_second": _number(r"tps = ([\d.]+)", output),
        "latency_ms": _number(r"latency average = ([\d.]+)", output),
    }


def measure_statements(database: PostgreSQLDatabase, feed: str) -> Iterator[tuple[str, float]]:
    """How long one statement takes that writes `ROWS` rows, in ms: INSERT, UPDATE and DELETE."""
    database.reset()
    user = "(SELECT min(id) FROM auth_user)"
    statements = {
        "INSERT": "INSERT INTO orders_order (date, state, user_id) "
        f"SELECT '2000-01-01', 'PAID', {user} FROM generate_series(1, {ROWS})",
        "UPDATE": "UPDATE orders_order SET state = 'UNPAID'",
        "DELETE": "DELETE FROM orders_order",
    }
    with (
        _triggers(database.writer_url, feed),
        _listening(database.writer_url, feed == OURS),
        psycopg.connect(database.writer_url, autocommit=True) as connection,
    ):
        for name, statement in statements.items():
            connection.execute("CHECKPOINT")
            began = time.perf_counter()
            connection.execute(statement)
            yield name, (time.perf_counter() - began) * 1e3
        connection.execute("VACUUM orders_order")


@contextmanager
def _triggers(url: str, feed: str) -> Iterator[None]:
    every = ", ".join(
        f"{'ENABLE' if feed == OURS else 'DISABLE'} TRIGGER {each}" for each in TRIGGERS
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE orders_order {every}")
        if feed == NOTIFY:
            connection.execute(_NOTIFY)
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER IF EXISTS benchmark_notify ON orders_order")
            connection.execute(f"ALTER TABLE orders_order {every.replace('DISABLE', 'ENABLE')}")


@contextmanager
def _listening(url: str, is_wanted: bool) -> Iterator[None]:
    """Follow the table of changes, as a server does, in a thread of its own."""
    if not is_wanted:
        yield
        return
    is_listening, stop = threading.Event(), asyncio.Event()

    async def follow() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            async for _changes in Listener(connection, is_notified=True).follow():
                is_listening.set()

    async def follow_until_stopped() -> None:
        task = asyncio.create_task(follow())
        await stop.wait()
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(follow_until_stopped(),))
    thread.start()
    try:
        if not is_listening.wait(10):
            raise RuntimeError("The listener does not begin.")
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise RuntimeError(f"pgbench has not said what was expected: {output}")
    return float(found.group(1))
