"""The servers of the run, as they are deployed, and the ways to them."""

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.nginx import NAME, Nginx, proxy
from tests.server import Server
from tests.workers import Workers

POOL_SIZE: Final = 4
SETTINGS: Final = {
    "METRICS": "true",
    "LOG_FORMAT": "line",
    "DATABASE_POOL_SIZE": str(POOL_SIZE),
    "ALLOWED_HOSTS": f"127.0.0.1,{NAME}",
    "GRAPHQL_PING_SECONDS": "1",
    "GRAPHQL_PONG_SECONDS": "5",
    "GRAPHQL_SEND_SECONDS": "5",
}


@dataclass(frozen=True)
class Way:
    """How a client reaches a server."""

    http: str
    websocket: str
    headers: Mapping[str, str] = field(default_factory=dict)
    trusted: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    extensions: Mapping[str, str] = field(default_factory=dict)
    """What httpx needs to name the site in the TLS handshake."""
    websocket_options: Mapping[str, Any] = field(default_factory=dict)


def direct(server: Server) -> Way:
    """Return the way to a server without a proxy."""
    return Way(server.http, server.websocket)


def through(nginx: Nginx) -> Way:
    """Return the way by TLS through nginx."""
    return Way(
        f"https://127.0.0.1:{nginx.tls_port}/graphql/",
        f"wss://{NAME}/graphql/",
        {"Host": NAME},
        nginx.trusted,
        {"sni_hostname": NAME},
        {"host": "127.0.0.1", "port": nginx.tls_port, "ssl": nginx.trusted},
    )


class Proxy:
    """nginx with the configuration that ships, which can be killed and started again."""

    def __init__(self, program: str, nginx: Nginx) -> None:
        self.nginx = nginx
        folder = nginx.folder
        command = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
        self._command = [*map(str, command), "-g", "daemon off;"]
        self._process: subprocess.Popen[bytes] | None = None

    def reload(self) -> None:
        """Let new workers take over, as after a change of the configuration."""
        os.kill(self._pid, signal.SIGHUP)

    def kill(self) -> None:
        """Kill all of its processes."""
        master = self._pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def start(self) -> None:
        """Start it again."""
        self._process = subprocess.Popen(self._command)
        while True:
            with suppress(ConnectionError):
                self.nginx.connect().close()
                return
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop what was started here."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def _pid(self) -> int:
        return int((self.nginx.folder / "pid").read_text())


@dataclass
class Site:
    """One server of several processes, reached directly, and two single ones behind nginx."""

    workers: Workers
    singles: tuple[Server, Server]
    proxy: Proxy

    @property
    def servers(self) -> tuple[Server, ...]:
        """All of them."""
        return (self.workers, *self.singles)

    def processes(self) -> list[int]:
        """The processes that serve at the moment."""
        found = sorted(self.workers.workers())
        for single in self.singles:
            with suppress(RuntimeError):  # It does not run.
                found.append(single.pid)
        return found

    def way(self, *, is_proxied: bool) -> Way:
        """Return a way to it."""
        return through(self.proxy.nginx) if is_proxied else direct(self.workers)


@contextmanager
def upstreams(program: str, folder: Path, singles: tuple[Server, Server]) -> Iterator[Proxy]:
    """nginx before the two servers."""
    with proxy(program, folder, [single.port for single in singles], {}) as nginx:
        running = Proxy(program, nginx)
        try:
            yield running
        finally:
            running.stop()
