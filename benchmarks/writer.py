"""A process of its own that commits one order after the other, and tells when."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing.connection import Connection
from typing import Any

import psycopg

from benchmarks.database import FIRST_DAY, INSERT_ORDER, INSERT_ORDER_OF, UPDATE_ORDERS

Statement = tuple[str, tuple[int, ...]]
"""SQL with a place for the day, and what else it needs."""


@dataclass(frozen=True, slots=True)
class Change:
    """One committed statement."""

    sent_ns: int
    """When the writer sent the statement, on the clock that all processes share."""
    day: bytes


class Writer:
    """Writes at a given pace, in the background."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._number = 0

    def begin(self) -> None:
        """Count from the first day again: the database was reset."""
        self._number = 0

    def start(self, changes: int, a_second: float) -> bytes:
        """Begin to write; return the day of the last order."""
        return self._begin([(INSERT_ORDER, ())] * changes, a_second)[-1]

    def start_for(self, users: Sequence[int], a_second: float) -> list[bytes]:
        """Begin to write an order for each of these users; return the days of all."""
        return self._begin([(INSERT_ORDER_OF, (user,)) for user in users], a_second)

    def start_for_all(self) -> bytes:
        """Begin to give all orders the next day in one statement; return that day."""
        return self._begin([(UPDATE_ORDERS, ())], 1)[-1]

    def is_done(self) -> bool:
        """Whether everything has been committed."""
        return self._pipe.poll()

    def changes(self) -> list[Change]:
        """Wait for the end, and return what was committed."""
        changes: list[Change] | Exception = self._pipe.recv()
        if isinstance(changes, Exception):
            raise changes
        return changes

    def _begin(self, statements: list[Statement], a_second: float) -> list[bytes]:
        days = [_day(self._number + number) for number in range(1, len(statements) + 1)]
        self._number += len(statements)
        self._pipe.send((list(zip(days, statements, strict=True)), 1 / a_second))
        return days


@contextmanager
def writer(url: str) -> Iterator[Writer]:
    """A writer to the database at `url` while the block lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, url), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Writer(ours)
    finally:
        ours.close()
        process.join(5)
        process.kill()


def _serve(pipe: Connection, url: str) -> None:
    execute = connect(url)
    pipe.send("ready")
    while True:
        try:
            statements, pause = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_write(execute, statements, pause))
        except (psycopg.Error, sqlite3.Error) as error:
            pipe.send(RuntimeError(f"The writer failed: {error}"))


def connect(url: str) -> Callable[[str, list[Any]], object]:
    """What executes a statement, whose parameters are written {}."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        sqlite = sqlite3.connect(path, isolation_level=None, timeout=30)
        return lambda sql, values: sqlite.execute(sql.replace("{}", "?"), values)
    postgresql = psycopg.connect(url, autocommit=True)
    return lambda sql, values: postgresql.execute(sql.replace("{}", "%s"), values)


def _write(
    execute: Callable[[str, list[Any]], object],
    statements: list[tuple[bytes, Statement]],
    pause_seconds: float,
) -> list[Change]:
    done = []
    due = time.monotonic() + 0.05
    for day, (sql, values) in statements:
        time.sleep(max(0.0, due - time.monotonic()))
        due += pause_seconds
        sent = time.monotonic_ns()
        execute(sql, [day.decode(), *values])
        done.append(Change(sent, day))
    return done


def _day(number: int) -> bytes:
    return (date.fromisoformat(FIRST_DAY) + timedelta(number)).isoformat().encode()
