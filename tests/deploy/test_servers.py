"""Several processes behind nginx: how clients are spread, and what restarts do to them."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from django.contrib.auth.models import User
from websockets.asyncio.client import ClientConnection

from tests.deploy.servers import Instance, instances, spread
from tests.items.models import Item
from tests.nginx import NAME, Nginx, proxy

pytestmark = pytest.mark.only("postgresql")

NUMBER = 4
CREATE = 'mutation { createItem(owner: "v") { id } }'
NEWEST = "subscription { item { id } }"
CHANGES = {"worker_processes auto": "worker_processes 2", "rate=50r/s": "rate=5000r/s"}
"""Several workers of nginx, wherever tests run; and one address may write as fast as it can."""
PATIENCE_SECONDS = 20
BACK_SECONDS = 10.0
"""Within which every client has a result again, whose server was restarted, on a busy machine."""


@pytest.fixture(scope="module")
def servers(
    django_db_setup: None, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Instance]]:
    """Four processes."""
    with instances(NUMBER, database_url, tmp_path_factory.mktemp("instances")) as started:
        yield started


@pytest.fixture
def site(
    nginx: str, servers: list[Instance], transactional_db: None, tmp_path: Path
) -> Iterator[Nginx]:
    """The servers behind nginx as it ships, with two workers."""
    with proxy(nginx, tmp_path, [each.port for each in servers], CHANGES) as running:
        yield running


def connect(site: Nginx, number: int) -> websockets.connect:
    """A WebSocket of client `number`; a hundred of them have one address."""
    return websockets.connect(
        f"wss://{NAME}/graphql/",
        host="127.0.0.1",
        port=site.tls_port,
        local_addr=(f"127.0.1.{1 + number // 100}", 0),
        ssl=site.trusted,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        compression=None,
        proxy=None,
    )


async def burst(site: Nginx, stack: AsyncExitStack, number: int) -> list[ClientConnection]:
    """So many acknowledged WebSockets, opened at once."""

    async def open_one(number: int) -> ClientConnection:
        connection = await stack.enter_async_context(connect(site, number))
        await connection.send('{"type":"connection_init"}')
        assert json.loads(await connection.recv()) == {"type": "connection_ack"}
        return connection

    return await asyncio.gather(*map(open_one, range(number)))


def assert_even(counts: list[int], total: int) -> None:
    """Within a tenth of even, or one more where a tenth is less."""
    assert sum(counts) == total
    even = total / len(counts)
    assert all(abs(count - even) <= max(1, even / 10) for count in counts), counts


@pytest.mark.parametrize("number", [50, 300])
async def test_burst_is_spread_evenly(site: Nginx, servers: list[Instance], number: int) -> None:
    async with AsyncExitStack() as stack:
        await burst(site, stack, number)
        assert_even(spread(servers), number)


async def test_server_that_comes_back_gets_clients_until_all_have_as_many(
    site: Nginx, servers: list[Instance]
) -> None:
    first, *others = servers
    async with AsyncExitStack() as stack:
        clients = await burst(site, stack, 60)
        await asyncio.to_thread(first.stop)
        closed = [each for each in clients if each.state is not websockets.State.OPEN]
        assert len(closed) == 15
        await burst(site, stack, 15)
        assert_even(spread(others), 60)
        await asyncio.to_thread(first.start)
        await burst(site, stack, 20)
        assert_even(spread(servers), 80)


class Follower:
    """A client of the newest item that comes back, as graphql-ws does, when it is closed."""

    def __init__(self, site: Nginx, number: int) -> None:
        self.latest: int | None = None
        self.away_seconds = 0.0
        """The longest time without a result that is up to date, as far as it knows."""
        self.has_changed = asyncio.Event()
        self._site = site
        self._number = number

    async def follow(self) -> None:
        """Subscribe for ever."""
        lost_at = None
        while True:
            try:
                async with connect(self._site, self._number) as connection:
                    await connection.send('{"type":"connection_init"}')
                    message = {"type": "subscribe", "id": "1", "payload": {"query": NEWEST}}
                    await connection.send(json.dumps(message))
                    async for text in connection:
                        message = json.loads(text)
                        if message["type"] == "next":
                            item = message["payload"]["data"]["item"]
                            self.latest = int(item["id"]) if item else None
                            self.has_changed.set()
                            if lost_at is not None:
                                away = time.monotonic() - lost_at
                                self.away_seconds = max(self.away_seconds, away)
                                lost_at = None
            except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosedError):
                pass
            lost_at = lost_at or time.monotonic()
            await asyncio.sleep(0.1)  # as clients do that try again

    async def until(self, key: int) -> None:
        """Wait until the newest item is this one."""
        while self.latest != key:
            self.has_changed.clear()
            await self.has_changed.wait()


class Writer:
    """A client that creates one item after the other, on connections that it keeps."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.created: list[int] = []
        self.failures: list[str] = []
        self.is_told_to_end = False
        self._client = client

    async def write(self) -> None:
        """Go on until told to end, whatever comes."""
        while not self.is_told_to_end:
            try:
                answer = await self._client.post(
                    "/graphql/", json={"query": CREATE}, extensions={"sni_hostname": NAME}
                )
            except httpx.TransportError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.created.append(int(answer.json()["data"]["createItem"]["id"]))
            else:
                self.failures.append(f"{answer.status_code} {answer.text}")


@asynccontextmanager
async def following(site: Nginx, number: int) -> AsyncIterator[list[Follower]]:
    """So many followers, each with a first result, while the block lasts."""
    followers = [Follower(site, each) for each in range(number)]
    tasks = [asyncio.create_task(each.follow()) for each in followers]
    try:
        await asyncio.gather(*(each.has_changed.wait() for each in followers))
        yield followers
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * number


@asynccontextmanager
async def writing(site: Nginx, number: int) -> AsyncIterator[list[Writer]]:
    """So many writers while the block lasts; then each has the answer to its last request."""
    async with httpx.AsyncClient(
        verify=site.trusted,
        base_url=f"https://127.0.0.1:{site.tls_port}",
        headers={"Host": NAME},
        timeout=PATIENCE_SECONDS,
    ) as client:
        writers = [Writer(client) for _ in range(number)]
        async with asyncio.TaskGroup() as tasks:
            for each in writers:
                tasks.create_task(each.write())
            try:
                yield writers
            finally:
                for each in writers:
                    each.is_told_to_end = True


async def test_rolling_restart_under_load_fails_no_request(
    site: Nginx, servers: list[Instance]
) -> None:
    await Item.objects.acreate(owner=await User.objects.acreate(username="v"), name="first")
    async with asyncio.timeout(90), following(site, 40) as followers:
        async with writing(site, 8) as writers:
            for server in servers:
                assert await asyncio.to_thread(server.stop) in {0, -signal.SIGTERM}
                await asyncio.to_thread(server.start)
        assert [each.failures for each in writers if each.failures] == []
        created = {key for each in writers for key in each.created}
        assert len(created) > 100
        # None of them was done twice.
        assert await Item.objects.exclude(name="first").acount() == len(created)
        await asyncio.gather(*(each.until(max(created)) for each in followers))
        assert 0 < max(each.away_seconds for each in followers) < BACK_SECONDS
