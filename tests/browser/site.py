"""A server with a database of its own, which a test may change, stop, kill and freeze."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.server import ROOT, ProjectServer

OPEN = {"DEBUG": "true", "OPEN_ACCESS": "true"}


class Site(ProjectServer):
    """Open to everybody, as in the demo, unless the settings say something else."""

    def __init__(self, database: Path, **settings: str) -> None:
        super().__init__(database.with_suffix(".log"), f"sqlite:///{database}", **OPEN | settings)
        self.database = database

    @property
    def origin(self) -> str:
        """Scheme, host and port, as browsers compare them."""
        return f"http://127.0.0.1:{self.port}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            self.thaw()
        super().__exit__(kind, error, traceback)

    def kill(self) -> None:
        """Let it end as in a crash: its connections are just lost."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """Let it keep its connections and fall silent, like a server that has lost its network."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def sql(self, statement: str) -> None:
        """Change the database from another process that knows nothing of the server."""
        execute(self.database, statement)


def execute(database: Path, statement: str) -> None:
    program = (
        "import sqlite3, sys\n"
        "with sqlite3.connect(sys.argv[1], timeout=5) as connection:\n"
        "    connection.execute(sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", program, database, statement], check=True)


def manage(database: Path, *command: str) -> None:
    """Run one of Django's commands on the database, without what it prints."""
    environment = (
        os.environ
        | OPEN
        | {
            "DJANGO_SETTINGS_MODULE": "settings",
            "DATABASE_URL": f"sqlite:///{database}",
            "DJANGO_SUPERUSER_PASSWORD": "admin",
        }
    )
    subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def create_database(path: Path) -> None:
    """Migrate a new database, with the superuser `admin`, the users ada and grace, an order."""
    manage(path, "migrate", "--verbosity=0")
    manage(path, "createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com")
    for name in ("ada", "grace"):
        execute(
            path,
            "INSERT INTO auth_user (username, email, password, first_name, last_name,"
            " is_staff, is_superuser, is_active, date_joined)"
            f" VALUES ('{name}', '{name}@example.com', '!', '', '', 0, 0, 1, '2026-01-01')",
        )
    execute(path, order_for("ada"))


def order_for(username: str, state: str = "UNPAID", date: str = "2026-11-01") -> str:
    """The SQL that inserts an order."""
    return (
        f"INSERT INTO orders_order (date, state, user_id) SELECT '{date}', '{state}', id"
        f" FROM auth_user WHERE username = '{username}'"
    )
