"""Servers as they are deployed: uvicorn in a process, on a real port."""

import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
STOP_SECONDS = 15


class Server:
    """The items' server while the context lasts, with settings as in the environment."""

    application = "tests.items.asgi:application"
    settings_module = "tests.items.settings"
    python = sys.executable
    deployment: tuple[str, ...] = (
        "--http=app.web.protocol:LimitedHTTP",
        "--ws-per-message-deflate=false",
        "--ws-max-size=262144",
    )
    """As in README.md. `arguments` come later, and win."""
    arguments: tuple[str, ...] = ()
    ready_path = "/health/ready"

    def __init__(self, log: Path, database_url: str, **settings: str) -> None:
        self.log_path = log
        self.folder = ROOT
        """Where the project is."""
        self.port = free_port()
        self._environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": self.settings_module,
            "DATABASE_URL": database_url,
            "PGAPPNAME": f"server {self.port}",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http(self) -> str:
        """The address of the GraphQL endpoint."""
        return f"http://127.0.0.1:{self.port}/graphql/"

    @property
    def websocket(self) -> str:
        """The same for WebSockets."""
        return f"ws://127.0.0.1:{self.port}/graphql/"

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self.log_path.read_text()

    def wait_for_log(self, text: str) -> None:
        """Wait until the server has logged `text`. Raises TimeoutError."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was expected in the log:\n{self.log}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """The server's process."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def command(self) -> list[str]:
        """What starts the server."""
        command = [self.python, "-m", "uvicorn", self.application, "--port", str(self.port)]
        return [*command, "--timeout-graceful-shutdown", "3", *self.deployment, *self.arguments]

    def start(self) -> None:
        """Start, and wait until the server is ready. Raises RuntimeError with its log."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"The server did not start:\n{self.log}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask the server to end, and answer with its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._process = None

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{self.ready_path}", timeout=2) as response:
                return bool(response.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False


class ProjectServer(Server):
    """The project's own server, with its own domain."""

    application = "asgi:application"
    settings_module = "settings"


def free_port() -> int:
    """A port that nobody listens on at the moment.

    Below those that Linux gives to outgoing connections, of which there are many meanwhile.
    """
    while True:
        port = random.SystemRandom().randint(10_000, 32_000)  # whatever a test has seeded
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
