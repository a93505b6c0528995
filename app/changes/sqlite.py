"""See commits to an SQLite file, of whatever process, by polling `PRAGMA data_version`."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from time import monotonic

from django.core.exceptions import ImproperlyConfigured

from ..exceptions import LiveError
from .change import Change
from .hearing import Hearing

POLL_SECONDS = 0.02
POLLS_A_FILE_CHECK = 50


class FileReplacedError(LiveError):
    """The database file is not the one that was opened."""


class SQLiteBackend:
    """Follows the SQLite file `name`; it cannot tell which tables a commit changed."""

    is_precise = False
    silent_tables: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self._path = Path(name)
        self.hearing = Hearing()
        self.looks = 0
        """How often it has looked, and told what it has seen."""

    def check(self) -> None:
        """Raise ImproperlyConfigured for a database in memory."""
        if ":memory:" in str(self._path) or "mode=memory" in str(self._path):
            raise ImproperlyConfigured(
                "The change feed cannot follow an SQLite database in memory, since no other "
                "connection sees it. Name a file; of a test's database, in "
                'DATABASES["default"]["TEST"]["NAME"].'
            )

    async def changes(self) -> AsyncIterator[list[Change] | None]:
        """Yield None at once and after each commit of another connection.

        `data_version` of a connection changes when any other connection has committed, in this
        process or not (https://www.sqlite.org/pragma.html#pragma_data_version). One poll is a
        look into shared memory, about 5 µs, so it runs on the event loop's own thread.
        """
        path = self._path
        opened = path.stat().st_ino
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)) as connection:
            version = -1
            while True:
                for _ in range(POLLS_A_FILE_CHECK):
                    last, version = version, _data_version(connection, version)
                    heard_at, self.hearing.heard_at = self.hearing.heard_at, monotonic()
                    if version != last:
                        yield None
                        if last != -1:  # It was committed after the poll before.
                            self.hearing.lag.observe(monotonic() - heard_at)
                    self.looks += 1
                    await asyncio.sleep(POLL_SECONDS)
                # A restored backup is another file: nobody writes to the opened one any more.
                if path.stat().st_ino != opened:
                    raise FileReplacedError(f"{path} was replaced.")


def _data_version(connection: sqlite3.Connection, last: int) -> int:
    try:
        row: tuple[int] = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError as error:
        # Busy: somebody is just committing, and the next poll will see it.
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return last
        raise
    return row[0]
