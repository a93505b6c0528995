"""An old and a new version run side by side while the database is migrated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.clients import PATIENCE_SECONDS, connect, get, post
from tests.deploy.shop import HastyServer, Version
from tests.server import Server

pytestmark = pytest.mark.only("postgresql")

OLD = "subscription { tickets { name color } }"
NEW = "subscription { tickets { name urgent } }"
NOTES = "subscription { notes { text } }"


def execute(url: str, statement: LiteralString) -> None:
    """Run a statement as somebody who knows nothing of any version."""
    with psycopg.connect(url) as connection:
        connection.execute(statement)


async def create(server: Server, name: str) -> None:
    """Create a ticket by this version's code."""
    mutation = "mutation ($name: String!) { createTicket(name: $name) { name } }"
    assert await post(server.http, mutation, name=name) == {
        "data": {"createTicket": {"name": name}}
    }


class Writer:
    """Creates one ticket after the other by one version's code, which must always succeed."""

    def __init__(self, server: Server) -> None:
        self.names: list[str] = []
        self.has_written = asyncio.Event()
        self._server = server

    async def write_until(self, is_over: asyncio.Event) -> None:
        """Go on until then."""
        while not is_over.is_set():
            name = f"w{len(self.names)}"
            await create(self._server, name)
            self.names.append(name)
            self.has_written.set()

    async def some_more(self, number: int = 3) -> None:
        """Wait until it has created so many."""
        for _ in range(number):
            self.has_written.clear()
            await self.has_written.wait()


@asynccontextmanager
async def written_to(server: Server) -> AsyncIterator[Writer]:
    """Create tickets all the time while the block lasts."""
    writer, is_over = Writer(server), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.write_until(is_over))
        try:
            await writer.some_more()
            yield writer
            await writer.some_more()
        finally:
            is_over.set()


async def test_versions_side_by_side_deliver_and_fail_no_request(
    shop_url: str, tmp_path: Path
) -> None:
    old, new, after = (Version(name, tmp_path, shop_url) for name in ("old", "new", "next"))
    await asyncio.to_thread(old.migrate)
    with old.server() as a:
        async with connect(a.websocket) as olds:
            await olds.subscribe(OLD)
            assert await olds.next() == {"tickets": []}
            async with written_to(a) as writer:
                await asyncio.to_thread(new.migrate)
            names = writer.names
            expected = [{"name": name, "color": ""} for name in names]
            await olds.until({"tickets": expected})
            with new.server() as b:
                assert (await get(a, "/health/ready")).status_code == 200
                async with connect(b.websocket) as news, connect(b.websocket) as notes:
                    await news.subscribe(NEW)
                    await notes.subscribe(NOTES)
                    assert await notes.next() == {"notes": []}
                    await create(a, "of the old")
                    await create(b, "of the new")
                    await asyncio.to_thread(
                        execute, shop_url, "UPDATE shop_ticket SET name = 'w' WHERE id=1"
                    )
                    names = ["w", *names[1:], "of the old", "of the new"]
                    await olds.until({"tickets": [{"name": n, "color": ""} for n in names]})
                    await news.until({"tickets": [{"name": n, "urgent": False} for n in names]})
                    await asyncio.to_thread(
                        execute, shop_url, "INSERT INTO shop_note (text) VALUES ('heard')"
                    )
                    assert await notes.next() == {"notes": [{"text": "heard"}]}
                    await asyncio.to_thread(a.stop)
                    async with written_to(b) as writer:
                        await asyncio.to_thread(after.migrate)
                    with after.server() as c:
                        await create(c, "of the next")
                        names += [*writer.names, "of the next"]
                        await news.until({"tickets": [{"name": n, "urgent": False} for n in names]})
    for server in (a, b, c):
        assert "Traceback" not in server.log, server.log


async def test_new_version_says_so_before_the_database_is_migrated(
    shop_url: str, tmp_path: Path
) -> None:
    """systemd so keeps the next instance from being restarted into it."""
    old, new = (Version(name, tmp_path, shop_url) for name in ("old", "new"))
    await asyncio.to_thread(old.migrate)
    with new.server(HastyServer) as b:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "run migrate" not in (answer := await get(b, "/health/ready")).text:
                assert answer.status_code == 503
        assert answer.status_code == 503
        assert "shop_note" in answer.text
