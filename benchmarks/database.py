"""The databases that every arm reads and the writer writes to."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import psutil
import psycopg

from benchmarks import machine
from tests.postgresql import get_server

ROOT: Final = Path(__file__).parent.parent
FIRST_DAY: Final = "2000-01-01"
INSERT_ORDER: Final = "INSERT INTO orders_order (date, state, user_id) VALUES ({}, 'UNPAID', 1)"
INSERT_ORDER_OF: Final = "INSERT INTO orders_order (date, state, user_id) VALUES ({}, 'UNPAID', {})"
UPDATE_ORDERS: Final = "UPDATE orders_order SET date = {}"

Vendor = Literal["postgresql", "sqlite"]


@dataclass(frozen=True, slots=True)
class Statements:
    """How many statements the server has sent to the database."""

    all: int
    on_orders: int

    def since(self, earlier: "Statements") -> "Statements":
        """The difference of two counts."""
        return Statements(self.all - earlier.all, self.on_orders - earlier.on_orders)


class Database(Protocol):
    """One kind of database, prepared for the arms."""

    vendor: Vendor
    server_url: str
    """The DATABASE_URL for servers."""
    writer_url: str

    def reset(self) -> None:
        """Leave one user and one order, of `FIRST_DAY`."""
        ...

    def announcing(self, action: str) -> AbstractContextManager[None]:
        """Within the block, each row of an order that is written performs `action`, if any."""
        ...

    def statements(self) -> Statements | None:
        """What servers have sent so far; None where the database cannot tell."""
        ...


class PostgreSQLDatabase:
    """PostgreSQL from the wheel, started for this run with its settings as they come."""

    vendor: Vendor = "postgresql"

    def __init__(self) -> None:
        # Of short name: a socket's path has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._server = get_server(self._folder, cleanup_mode="delete")
        self.programs = Path(self._server.bin_path)
        """The folder of pgbench."""
        self._offset = 0
        self._statements = Statements(0, 0)
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            self.version = str(connection.info.server_version // 10000)
            connection.execute("CREATE DATABASE benchmark")
            # What servers send is counted in the database's log: unlike the statistics views it
            # is complete at each moment, and it costs the measured process nothing.
            connection.execute("CREATE ROLE measured SUPERUSER LOGIN")
            connection.execute("ALTER ROLE measured SET log_statement = 'all'")
        self.writer_url = str(self._server.get_uri("benchmark"))
        self.server_url = self.writer_url.replace("//postgres:@", "//measured@")
        migrate(self.writer_url)

    def close(self) -> None:
        """Stop the server and delete its files."""
        self._server.cleanup()

    @property
    def folder(self) -> Path:
        """Where its socket is."""
        return self._folder

    def use(self, processors: set[int]) -> None:
        """Run the server, and the connections made from now on, on `processors`."""
        postmaster = psutil.Process(self._server.get_pid())
        for process in (postmaster, *postmaster.children()):
            with suppress(psutil.Error):  # A connection that has just ended.
                process.cpu_affinity(list(processors))

    def cpu_seconds(self) -> dict[int, float]:
        """The processor time that each of its processes has used so far."""
        postmaster = psutil.Process(self._server.get_pid())
        found = {}
        for process in (postmaster, *postmaster.children()):
            with suppress(OSError):  # A connection that has just ended.
                found[process.pid] = machine.cpu_seconds(process.pid)
        return found

    def environment(self) -> dict[str, str]:
        """The same address in the variables of libpq, which Node's driver reads too."""
        return {"PGHOST": str(self._folder), "PGUSER": "measured", "PGDATABASE": "benchmark"}

    def reset(self) -> None:
        """Leave one user and one order."""
        with psycopg.connect(self.writer_url) as connection:
            connection.execute("TRUNCATE orders_order RESTART IDENTITY")
            connection.execute(INSERT_USER + " ON CONFLICT DO NOTHING")
            connection.execute(INSERT_ORDER.format("%s"), [FIRST_DAY])

    def reset_for(self, users: range) -> None:
        """Leave one order of `FIRST_DAY` for each of these users."""
        with psycopg.connect(self.writer_url, autocommit=True) as connection:
            connection.execute("TRUNCATE orders_order RESTART IDENTITY")
            connection.execute(
                "INSERT INTO orders_order (date, state, user_id) "
                "SELECT %s::date, 'UNPAID', id FROM generate_series(%s::int, %s::int) id",
                [FIRST_DAY, users.start, users.stop - 1],
            )
            # Otherwise it is chance when the planner learns how large they are.
            connection.execute("ANALYZE orders_order, auth_user, django_session")

    def sign_in(self) -> None:
        """Do what Django does when a user signs in, who is none of the viewers."""
        with psycopg.connect(self.writer_url) as connection:
            connection.execute("UPDATE auth_user SET last_login = now() WHERE id = 1")
            connection.execute(
                "INSERT INTO django_session (session_key, session_data, expire_date) "
                "VALUES (md5(random()::text), '', now() + interval '1 day')"
            )

    @contextmanager
    def announcing(self, action: str) -> Iterator[None]:
        """Within the block, each row of an order that is written performs `action`, if any."""
        if not action:
            yield
            return
        with psycopg.connect(self.writer_url, autocommit=True) as connection:
            connection.execute(
                "CREATE OR REPLACE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN PERFORM {action}; RETURN NULL; END $$"
            )
            connection.execute(
                "CREATE TRIGGER announce AFTER INSERT OR UPDATE ON orders_order "
                "FOR EACH ROW EXECUTE FUNCTION announce()"
            )
            try:
                yield
            finally:
                connection.execute("DROP TRIGGER announce ON orders_order")

    def columns(self, *tables: str) -> set[str]:
        """The columns of these tables, as they are named in a SELECT."""
        with psycopg.connect(self.writer_url) as connection:
            found = connection.execute(
                "SELECT table_name, column_name FROM information_schema.columns "
                "WHERE table_name = ANY(%s)",
                [list(tables)],
            )
            return {f'"{table}"."{column}"' for table, column in found}

    def logged(self) -> list[bytes]:
        """The statements that servers have sent since this or `statements` was called last."""
        with self._server.log.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        whole = text.rfind(b"\n") + 1
        self._offset += whole
        return re.findall(rb"LOG:  (?:statement|execute [^:]*): ((?:[^\n]|\n\t)*)", text[:whole])

    def statements(self) -> Statements:
        """Count what the log has got since the last call."""
        found = self.logged()
        self._statements = Statements(
            self._statements.all + len(found),
            self._statements.on_orders + sum(b"orders_order" in each for each in found),
        )
        return self._statements


class SQLiteDatabase:
    """A file, in a folder of this run."""

    vendor: Vendor = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server_url = self.writer_url = f"sqlite:///{path}"
        self.version = sqlite3.sqlite_version
        migrate(self.server_url)

    def reset(self) -> None:
        """Leave one user and one order."""
        with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            connection.execute("DELETE FROM orders_order")
            connection.execute(INSERT_USER + " ON CONFLICT DO NOTHING")
            connection.execute(INSERT_ORDER.format("?"), [FIRST_DAY])

    def announcing(self, action: str) -> AbstractContextManager[None]:
        """SQLite tells nobody."""
        if action:
            raise ValueError("SQLite cannot tell a server of changes.")
        return nullcontext()

    def statements(self) -> None:
        """SQLite keeps no count."""


INSERT_USER: Final = (
    "INSERT INTO auth_user (id, password, is_superuser, username, first_name, last_name, email, "
    "is_staff, is_active, date_joined) VALUES (1, '', false, 'ada', '', '', 'ada@example.org', "
    "false, true, '2026-01-01T00:00:00Z')"
)


@contextmanager
def databases(folder: Path) -> Iterator[tuple[PostgreSQLDatabase, SQLiteDatabase]]:
    """Both, ready to be used, while the block lasts."""
    with closing(PostgreSQLDatabase()) as postgresql:
        yield postgresql, SQLiteDatabase(folder / "benchmark.sqlite3")


def migrate(url: str) -> None:
    """Create the tables and triggers, as a deployment does."""
    environment = os.environ | {"DATABASE_URL": url, "DEBUG": "true"}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
