"""Start an arm's server on its own processor, and read what it uses."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks import machine
from benchmarks.arms import Arm
from benchmarks.database import ROOT, Database, PostgreSQLDatabase

START_SECONDS = 30
# All clients come from one address, and some loads are one viewer's.
RAISED_LIMITS: Final = dict.fromkeys(
    (
        "GRAPHQL_MAX_CONNECTIONS_PER_VIEWER",
        "GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER",
        "GRAPHQL_MAX_COST_PER_VIEWER",
        "GRAPHQL_MAX_OPERATIONS_PER_VIEWER",
    ),
    "1000000",
)


class Server:
    """The server of an arm, while the context lasts."""

    def __init__(
        self,
        arm: Arm,
        database: Database,
        log: Path,
        settings: Mapping[str, str] | None = None,
        limits: Mapping[str, str] = RAISED_LIMITS,
        processors: set[int] | None = None,
    ) -> None:
        """It has a processor of its own, unless `processors` says where it runs."""
        self.port = free_port()
        self._arm = arm
        self._log = log
        self._processors = processors or machine.server_processor()
        self._environment = os.environ | {
            **limits,
            "DATABASE_URL": database.server_url,
            "DEBUG": "true",
            "OPEN_ACCESS": "true",
            "LOG_LEVEL": "WARNING",
            "NODE_ENV": "production",
            "DJANGO_SETTINGS_MODULE": (
                "benchmarks.default_settings"
                if arm.has_default_settings
                else "benchmarks.open_settings"
            ),
        }
        if isinstance(database, PostgreSQLDatabase):
            self._environment |= database.environment()
        self._environment |= settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The one process of the server."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """The processor time used so far."""
        return machine.cpu_seconds(self.pid)

    def memory_bytes(self) -> int:
        """The memory used now."""
        return machine.memory_bytes(self.pid)

    def __enter__(self) -> Self:
        with self._log.open("wb") as log, machine.pinned(self._processors):
            self._process = subprocess.Popen(
                self._arm.command(self.port),
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not is_listening(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"{self._arm.name} did not start:\n{self._log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Nobody waits for it to say goodbye to thousands of clients.
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
