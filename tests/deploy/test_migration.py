"""An old and a new version run side by side while the database is migrated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from tests.clients import connect, get, post
from tests.deploy.shop import Version
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


@asynccontextmanager
async def written_to(server: Server) -> AsyncIterator[list[str]]:
    """Create tickets all the time while the block lasts: their names."""
    names: list[str] = []
    is_over = asyncio.Event()

    async def write() -> None:
        while not is_over.is_set():
            await create(server, f"w{len(names)}")
            names.append(f"w{len(names)}")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        try:
            yield names
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
            async with written_to(a) as names:
                while len(names) < 3:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(new.migrate)
                written = len(names)
                while len(names) < written + 3:
                    await asyncio.sleep(0.01)
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
                    async with written_to(b) as more:
                        await asyncio.to_thread(after.migrate)
                    with after.server() as c:
                        await create(c, "of the next")
                        names += [*more, "of the next"]
                        await news.until({"tickets": [{"name": n, "urgent": False} for n in names]})
    for server in (a, b, c):
        assert "Traceback" not in server.log, server.log
