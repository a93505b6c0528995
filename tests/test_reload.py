"""Servers whose processes are replaced: the old ones leave no connection behind."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.clients import post
from tests.server import Server
from tests.workers import Workers

pytestmark = pytest.mark.only("postgresql")

READ = "{ items { name } }"


async def ask(server: Server) -> None:
    """Query more at once than there are connections."""
    answers = await asyncio.gather(*(post(server.http, READ) for _ in range(40)))
    assert answers == [{"data": {"items": []}}] * 40


async def keep_asking(server: Server) -> None:
    """Be a client that hears nothing while the server is replaced, and tries again."""
    while True:
        with suppress(httpx.TransportError):
            await post(server.http, READ)
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class Backends:
    """The processes of PostgreSQL that serve a server's own connections, not its change feed's."""

    def __init__(self, server: Server, url: str) -> None:
        self._name = f"server {server.port}"
        self._url = url
        self.before: set[int] = set()

    def now(self) -> set[int]:
        """The processes that are there."""
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(self._url) as connection:
            return {pid for (pid,) in connection.execute(query, [self._name])}

    def are_new(self) -> bool:
        """Whether all of those that were there `before` have gone."""
        return not self.now() & self.before


async def test_reload_leaves_no_connections(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    (code := tmp_path / "code.py").touch()

    class Reloading(Server):
        arguments = ("--reload", "--reload-dir", str(tmp_path))

    with Reloading(tmp_path / "log", database_url, DEBUG="true", OPEN_ACCESS="true") as server:
        backends = Backends(server, database_url)
        for number in range(2):
            await ask(server)
            backends.before = backends.now()
            assert backends.before
            clients = [asyncio.create_task(keep_asking(server)) for _ in range(10)]
            starts = server.log.count("startup complete")
            code.write_text(f"# {number}")
            await until(lambda starts=starts: server.log.count("startup complete") > starts)  # type: ignore[misc]
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await ask(server)
            await until(backends.are_new)
    assert not backends.now()
    assert "Traceback" not in server.log, server.log


async def test_restarted_and_killed_workers_leave_no_connections(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    with Workers(tmp_path / "log", database_url, DEBUG="true", OPEN_ACCESS="true") as server:
        backends = Backends(server, database_url)
        await ask(server)
        backends.before, before = backends.now(), server.workers()
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: not server.workers() & before and len(server.workers()) == 3)
        await until(backends.are_new)
        await ask(server)

        victim = min(before := server.workers())
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(server.workers() - before) == 1)
        await ask(server)
    assert not backends.now()
    assert "Traceback" not in server.log, server.log
