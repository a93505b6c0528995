"""Start what an arm needs: a database with its tables, its server, and who writes beside it."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.adoption.arms import Arm
from benchmarks.database import ROOT, PostgreSQLDatabase
from benchmarks.servers import free_port, is_listening

START_SECONDS: Final = 30


class Site:
    """An arm's database and server, and who writes from another process."""

    def __init__(self, arm: Arm, postgresql: PostgreSQLDatabase, redis: str) -> None:
        self.port = free_port()
        self.database_url = _address(postgresql.writer_url, arm.name)
        self._arm = arm
        self._postgresql = postgresql
        self._environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": f"{arm.package}.{arm.settings}",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": redis,
        }
        self._writer: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self, log: Path) -> AsyncIterator[None]:
        """Create the database; serve while the block lasts."""
        with psycopg.connect(self._postgresql.writer_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self._arm.name}")
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity=0", "--skip-checks"]
        await asyncio.to_thread(
            subprocess.run, migrate, cwd=ROOT, env=self._environment, check=True
        )
        self._writer = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.adoption.writer",
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        server = self._start(log)
        try:
            await asyncio.to_thread(self._wait, server, log)
            yield
        finally:
            for process in (server, self._writer):
                process.kill()
            server.wait()
            await self._writer.wait()

    async def elsewhere(self, name: str, *positional: Any, **named: Any) -> Any:
        """Call a function of `benchmarks.adoption.writer` in its process."""
        if self._writer is None or self._writer.stdin is None or self._writer.stdout is None:
            raise RuntimeError("The site is not running.")
        line = json.dumps([name, positional, named])
        self._writer.stdin.write(f"{line}\n".encode())
        return json.loads(await self._writer.stdout.readline())

    def queries_of_orders(self) -> int:
        """Return how often the server has read orders since this was called last."""
        return sum(b'FROM "shop_order"' in each for each in self._postgresql.logged())

    def _start(self, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "uvicorn", f"{self._arm.package}.asgi:application"]
        environment = self._environment | {
            # By the role whose statements are logged.
            "DATABASE_URL": _address(self._postgresql.server_url, self._arm.name)
        }
        with log.open("wb") as output:
            return subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )

    def _wait(self, server: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_listening(self.port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._arm.name} did not start:\n{log.read_text()}")
            time.sleep(0.05)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run Redis, and yield its address; an empty one if it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield ""
        return
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--daemonize", "no"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Redis did not start.")
            time.sleep(0.05)
        yield f"unix://{path}"
    finally:
        process.kill()
        process.wait()


def _address(url: str, database: str) -> str:
    return url.replace("/benchmark", f"/{database}", 1)
