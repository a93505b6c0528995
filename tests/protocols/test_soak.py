"""Hundreds of subscriptions come and go while others write: what stays is right, and nothing else.

`pytest --soak-seconds 300 --soak-clients 100 tests/protocols/test_soak.py` is the long version.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection as database
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.clients import post
from tests.items.models import Item
from tests.protocols.raw import INIT, metrics, metrics_become, resident_bytes
from tests.server import Server

ROUNDS = 2
MAX_SUBSCRIPTIONS = 30
SETTLE_SECONDS = 60
MAX_GROWTH_BYTES = 24 * 1024 * 1024
SELECTIONS = ["id", "state", "id state", "id name state owner { username } parts { name }"]


@dataclass(frozen=True)
class Asked:
    """What is asked, by a query or by a subscription."""

    arguments: str
    selection: str

    def document(self, kind: str) -> str:
        """The document of a `query` or `subscription`."""
        return f"{kind} {{ items({self.arguments}) {{ {self.selection} }} }}"


def anything(chance: random.Random) -> Asked:
    """One of some fifty operations, so that many are shared and many are not."""
    first = chance.choice([1, 2, 5, 10])
    state = chance.choice(["", "state: DONE", "state: OPEN"])
    return Asked(f"first: {first} {state}", chance.choice(SELECTIONS))


@dataclass
class Client:
    """A WebSocket that remembers the newest result of each of its subscriptions."""

    server: Server
    subprotocol: str
    chance: random.Random
    asked: dict[str, Asked] = field(default_factory=dict)
    latest: dict[str, Any] = field(default_factory=dict)
    received: int = 0
    has_settled: bool = False
    """Whether it asks for no more."""
    connection: ClientConnection | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ids: Any = field(default_factory=lambda: map(str, count()))

    async def run(self, seconds: float) -> None:
        """Subscribe, leave and break off at random for some time; then stay."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while True:
            with suppress(websockets.ConnectionClosed):
                async with self._connected() as connection:
                    is_last = await self._play(connection, ends_at)
                    if is_last:
                        self.has_settled = True
                        await self._read(connection)
                        return
                    if self.chance.random() < 0.5:
                        connection.transport.abort()

    async def _play(self, connection: ClientConnection, ends_at: float) -> bool:
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(self._read(connection))
        try:
            while loop.time() < ends_at:
                await self._act(connection)
                if self.chance.random() < 0.02:
                    return False
                await asyncio.sleep(self.chance.random() * 0.1)
            while len(self.asked) < MAX_SUBSCRIPTIONS // 2:
                await self._subscribe(connection)
            return True
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
            if not reading.cancelled():
                reading.result()  # what it has found wrong

    async def _act(self, connection: ClientConnection) -> None:
        if len(self.asked) < self.chance.randint(0, MAX_SUBSCRIPTIONS):
            await self._subscribe(connection)
        elif self.asked:
            id_ = self.chance.choice(list(self.asked))
            del self.asked[id_]
            self.latest.pop(id_, None)
            type_ = "complete" if self._is_new else "stop"
            await connection.send(json.dumps({"type": type_, "id": id_}))

    async def _subscribe(self, connection: ClientConnection) -> None:
        id_, asked = next(self.ids), anything(self.chance)
        self.asked[id_] = asked
        type_ = "subscribe" if self._is_new else "start"
        payload = {"query": asked.document("subscription")}
        await connection.send(json.dumps({"type": type_, "id": id_, "payload": payload}))

    async def _read(self, connection: ClientConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            match message["type"]:
                case "next" | "data":
                    self._take(message["id"], message["payload"])
                case "ping":
                    await connection.send('{"type":"pong"}')
                case "connection_ack" | "ka":
                    pass
                case _:
                    raise AssertionError(message)

    def _take(self, id_: str, result: Any) -> None:
        self.received += 1
        if id_ in self.asked:  # and not what was under way when it left
            assert "errors" not in result
            assert self.latest.get(id_) != result, "the same twice"
            self.latest[id_] = result
            self.changed.set()

    @property
    def _is_new(self) -> bool:
        return self.subprotocol == "graphql-transport-ws"

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        self.asked.clear()
        self.latest.clear()
        async with websockets.connect(
            self.server.websocket,
            subprotocols=[Subprotocol(self.subprotocol)],
            compression=None,
        ) as connection:
            await connection.send(INIT)
            yield connection


async def stream(server: Server, chance: random.Random, seconds: float) -> None:
    """Open event streams and leave them at random."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    headers = {"accept": "text/event-stream"}
    async with httpx.AsyncClient(headers=headers, timeout=SETTLE_SECONDS) as client:
        while loop.time() < ends_at:
            query = {"query": anything(chance).document("subscription")}
            # The current result is three lines.
            async with client.stream("POST", server.http, json=query) as response:
                lines = response.aiter_lines()
                for _ in range(chance.randint(1, 3)):
                    await anext(lines)
            await asyncio.sleep(chance.random() * 0.1)


def write(chance: random.Random, users: list[User]) -> None:
    """Commit one change, in one of the ways that there are."""
    match chance.randrange(6):
        case 0:
            Item.objects.create(owner=chance.choice(users))
        case 1:
            Item.objects.bulk_create(Item(owner=user, state="DONE") for user in users)
        case 2:
            newest = Item.objects.order_by("-pk").values_list("pk", flat=True)[:5]
            Item.objects.filter(pk__in=list(newest)).update(state=chance.choice(["DONE", "OPEN"]))
        case 3:
            User.objects.filter(pk=chance.choice(users).pk).update(email=f"{chance.random()}@x.org")
        case 4 if (item := Item.objects.order_by("-pk").first()) is not None:
            item.delete()
        case _:
            with database.cursor() as cursor:
                cursor.execute("UPDATE items_item SET state = 'DONE' WHERE id % 7 = 0")


async def write_for(chance: random.Random, users: list[User], seconds: float) -> int:
    """Write for some time: how often."""
    loop = asyncio.get_running_loop()
    ends_at, writes = loop.time() + seconds, 0
    while loop.time() < ends_at:
        await sync_to_async(write)(chance, users)
        writes += 1
        await asyncio.sleep(chance.random() * 0.1)
    return writes


async def converge(server: Server, clients: list[Client]) -> None:
    """Wait until each subscription holds what a query answers now."""
    asked = {each for client in clients for each in client.asked.values()}
    assert asked
    final = {each: await post(server.http, each.document("query")) for each in asked}
    async with asyncio.timeout(SETTLE_SECONDS):
        for client in clients:
            while any(client.latest.get(id_) != final[it] for id_, it in client.asked.items()):
                client.changed.clear()
                await client.changed.wait()


async def play(server: Server, users: list[User], seconds: float, clients: int, seed: str) -> None:
    """One round: clients and writers at once, then the comparison, then everybody goes."""
    chances = [random.Random(f"{seed} {number}") for number in range(clients)]
    subprotocols = ["graphql-transport-ws", "graphql-ws"]
    players = [
        Client(server, subprotocols[number % 2], chance) for number, chance in enumerate(chances)
    ]
    tasks = [asyncio.create_task(player.run(seconds)) for player in players]
    try:
        writes, *_ = await asyncio.gather(
            write_for(chances[0], users, seconds),
            *(stream(server, chance, seconds) for chance in chances[: clients // 5 + 1]),
        )
        async with asyncio.timeout(SETTLE_SECONDS):
            while not all(player.has_settled for player in players):
                await asyncio.sleep(0.1)
                for task in tasks:
                    assert not task.done(), task  # with what it has found wrong
        await converge(server, players)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    broken = [each for each in results if not isinstance(each, asyncio.CancelledError)]
    assert not broken, broken
    received = sum(player.received for player in players)
    print(f"{clients} clients, {writes} writes, {received} results received.")


async def test_soak(measured_server: Server, vendor: str, request: pytest.FixtureRequest) -> None:
    seconds = request.config.getoption("--soak-seconds")
    clients = request.config.getoption("--soak-clients")
    users = [await User.objects.acreate(username=f"user{number}") for number in range(5)]
    await metrics_become(measured_server, connections=0)
    memory = []
    tasks = metrics(measured_server)["tasks"]
    for number in range(ROUNDS):
        await play(measured_server, users, seconds / ROUNDS, clients, f"round {number}")
        await metrics_become(
            measured_server,
            connections=0,
            subscribers=0,
            sources=0,
            tasks=tasks,
            database_waiting=0,
            # Threads are idle, too, if nobody has needed them yet.
            database_idle="database_size" if vendor == "postgresql" else "database_max_size",
        )
        memory.append(resident_bytes(measured_server))
    print("Memory after each round, MB:", [each >> 20 for each in memory])
    assert memory[-1] - memory[0] < MAX_GROWTH_BYTES
    for complaint in ("Traceback", "ERROR", "ASGI callable"):
        assert complaint not in measured_server.log
