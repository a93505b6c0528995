"""Measure what the change feed costs those who write, with PostgreSQL's own pgbench."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from app.changes.triggers import CHANNEL, TRIGGER
from benchmarks.database import INSERT_ORDER, PostgreSQLDatabase

FEEDS: Final = ("no trigger", "trigger", "trigger and listener")


def measure(
    database: PostgreSQLDatabase, feed: str, writers: int, seconds: int, folder: Path
) -> dict[str, float]:
    """Let `writers` connections insert one order after the other, each in its transaction."""
    database.reset()
    script = folder / "insert.sql"
    script.write_text(INSERT_ORDER.format("'2000-01-01'") + ";\n")
    state = "DISABLE" if feed == "no trigger" else "ENABLE"
    with psycopg.connect(database.writer_url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE orders_order {state} TRIGGER {TRIGGER}")
    try:
        with _listening(database.writer_url, feed == "trigger and listener"):
            command = [str(database.programs / "pgbench"), "--no-vacuum", "--protocol=prepared"]
            command += [f"--client={writers}", f"--jobs={min(writers, 2)}", f"--time={seconds}"]
            command += [f"--file={script}", database.writer_url]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        with psycopg.connect(database.writer_url, autocommit=True) as connection:
            connection.execute(f"ALTER TABLE orders_order ENABLE TRIGGER {TRIGGER}")
    return {
        "commits_a_second": _number(r"tps = ([\d.]+)", output),
        "latency_ms": _number(r"latency average = ([\d.]+)", output),
    }


@contextmanager
def _listening(url: str, is_wanted: bool) -> Iterator[None]:
    stop = threading.Event()

    def listen() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while not stop.is_set():
                for _notification in connection.notifies(timeout=0.1):
                    pass

    thread = threading.Thread(target=listen)
    if is_wanted:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if is_wanted:
            thread.join()


def _number(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise RuntimeError(f"pgbench has not said what was expected: {output}")
    return float(found.group(1))
