"""Several processes serve one address, and share nothing but the database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import websockets
from django.contrib.auth.models import User

from tests.clients import connect, post
from tests.items.models import Item
from tests.server import Server
from tests.workers import NEWEST, Workers, everywhere, is_running

CREATE = 'mutation { createItem(owner: "v") { id } }'


@pytest.fixture
def server(transactional_db: None, database_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Three workers on the test's database."""
    with Workers(tmp_path / "log", database_url, DEBUG="true", OPEN_ACCESS="true") as server:
        yield server
    assert "Traceback" not in server.log, server.log


@pytest.fixture
async def user(transactional_db: None) -> User:
    """Whose items they are."""
    return await User.objects.acreate(username="v")


async def test_change_through_one_worker_reaches_subscribers_of_all(
    server: Workers, user: User
) -> None:
    assert len(server.workers()) == 3
    async with AsyncExitStack() as stack:
        sockets = await everywhere(server, stack)
        key = (await post(server.http, CREATE))["data"]["createItem"]["id"]
        for socket in sockets:
            await socket.until({"item": {"id": key, "state": "OPEN"}})


class Follower:
    """A client that comes back when the server closes its connection."""

    def __init__(self, server: Server) -> None:
        self.latest: str | None = None
        self.codes: list[int | None] = []
        self.has_changed = asyncio.Event()
        self._server = server

    async def follow(self) -> None:
        """Subscribe for ever."""
        while True:
            try:
                async with connect(self._server.websocket) as socket:
                    await socket.subscribe(NEWEST)
                    while True:
                        item = (await socket.next(60))["item"]
                        self.latest = item["id"] if item else None
                        self.has_changed.set()
            except websockets.ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd else None)
            except (OSError, websockets.InvalidHandshake):
                await asyncio.sleep(0.05)  # as clients do that try again

    async def until(self, key: str) -> None:
        """Wait until the newest item is this one."""
        while self.latest != key:
            self.has_changed.clear()
            await self.has_changed.wait()


@asynccontextmanager
async def following(server: Server, number: int) -> AsyncIterator[list[Follower]]:
    """So many followers, while the block lasts."""
    followers = [Follower(server) for _ in range(number)]
    tasks = [asyncio.create_task(each.follow()) for each in followers]
    try:
        yield followers
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * number


async def test_restart_one_after_the_other_loses_no_write_and_no_final_state(
    server: Workers, user: User
) -> None:
    before = server.workers()
    await Item.objects.acreate(owner=user)
    async with asyncio.timeout(60), following(server, 12) as followers:
        await asyncio.gather(*(each.has_changed.wait() for each in followers))
        os.kill(server.pid, signal.SIGHUP)
        acknowledged = []
        while server.workers() & before or len(server.workers()) < 3:  # under load
            with suppress(httpx.TransportError):  # of a worker that stops: no answer, no promise
                answer = await post(server.http, CREATE)
                acknowledged.append(int(answer["data"]["createItem"]["id"]))
        assert len(acknowledged) > 10
        assert await Item.objects.filter(pk__in=acknowledged).acount() == len(acknowledged)
        final = await Item.objects.acreate(owner=user)
        await asyncio.gather(*(each.until(str(final.pk)) for each in followers))
        assert {code for each in followers for code in each.codes} == {1012}


async def test_sigterm_ends_all_workers(server: Workers, user: User) -> None:
    workers = server.workers()
    async with AsyncExitStack() as stack:
        sockets = await everywhere(server, stack)
        assert await asyncio.to_thread(server.stop) in (0, -signal.SIGTERM)
        for socket in sockets:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
    assert not [pid for pid in workers if is_running(pid)]
