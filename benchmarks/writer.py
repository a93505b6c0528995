"""A process of its own that commits one order after the other, and tells when."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing.connection import Connection

import psycopg

from benchmarks.database import FIRST_DAY, INSERT_ORDER


@dataclass(frozen=True, slots=True)
class Change:
    """One committed order."""

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
        self._pipe.send((self._number + 1, changes, 1 / a_second))
        self._number += changes
        return _day(self._number)

    def is_done(self) -> bool:
        """Whether everything has been committed."""
        return self._pipe.poll()

    def changes(self) -> list[Change]:
        """Wait for the end, and return what was committed."""
        changes: list[Change] | Exception = self._pipe.recv()
        if isinstance(changes, Exception):
            raise changes
        return changes


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
    insert = _insert(url)
    pipe.send("ready")
    while True:
        try:
            first, changes, pause = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_write(insert, first, changes, pause))
        except (psycopg.Error, sqlite3.Error) as error:
            pipe.send(RuntimeError(f"The writer failed: {error}"))


def _insert(url: str) -> Callable[[str], object]:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        sqlite = sqlite3.connect(path, isolation_level=None, timeout=30)
        return lambda day: sqlite.execute(INSERT_ORDER.format("?"), [day])
    postgresql = psycopg.connect(url, autocommit=True)
    return lambda day: postgresql.execute(INSERT_ORDER.format("%s"), [day])


def _write(
    insert: Callable[[str], object], first: int, changes: int, pause_seconds: float
) -> list[Change]:
    done = []
    due = time.monotonic() + 0.05
    for number in range(first, first + changes):
        time.sleep(max(0.0, due - time.monotonic()))
        due += pause_seconds
        day = _day(number)
        sent = time.monotonic_ns()
        insert(day.decode())
        done.append(Change(sent, day))
    return done


def _day(number: int) -> bytes:
    return (date.fromisoformat(FIRST_DAY) + timedelta(number)).isoformat().encode()
