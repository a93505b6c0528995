"""Who takes all they can get takes it from nobody else: budgets of viewers and of addresses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from tests.clients import (
    PATIENCE_SECONDS,
    Socket,
    connect,
    post,
    session_cookie,
    written_by_another,
)
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import metrics, metrics_become
from tests.server import Server

MANY_FIELDS = " ".join(f"a{number}: id" for number in range(45))


@pytest.fixture
def eve() -> User:
    """Who takes all they can get."""
    return User.objects.create_user("eve")


@pytest.fixture
def bob() -> User:
    """Somebody else."""
    return User.objects.create_user("bob")


@pytest.fixture
def server(share_server: StartServer, transactional_db: None) -> Server:
    """A server as in production, whose budgets are small."""
    return share_server(
        Server,
        METRICS="true",
        GRAPHQL_MAX_CONNECTIONS_PER_VIEWER="3",
        GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER="5",
        GRAPHQL_MAX_COST_PER_VIEWER="500",
        GRAPHQL_MAX_OPERATIONS_PER_VIEWER="4",
        FORWARDED_ALLOW_IPS="127.0.0.1",
    )


@pytest.fixture
def refused(server: Server) -> Iterator[dict[str, int]]:
    """How often each limit shall have refused by the end of the test."""
    before = refusals(server)
    expected: dict[str, int] = {}
    yield expected
    found = {code: count - before.get(code, 0) for code, count in refusals(server).items()}
    assert {code: count for code, count in found.items() if count} == expected


def refusals(server: Server) -> dict[str, int]:
    """How often limits have refused so far, by code."""
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("live_refused_total{")]
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


async def code_of(socket: Socket) -> str:
    """The code of the next message, which must be an error."""
    return str((await socket.next_error())["extensions"]["code"])


async def test_different_subscriptions_are_counted_over_all_transports(
    server: Server, eve: User, bob: User, refused: dict[str, int]
) -> None:
    async with (
        connect(server.websocket, eve) as one,
        connect(server.websocket, eve) as two,
        connect(server.websocket, bob) as other,
    ):
        ids = []
        for socket, sizes in ((one, (1, 2, 3)), (two, (4, 5))):
            for size in sizes:
                ids.append(
                    await socket.subscribe(f"subscription {{ items(first: {size}) {{ id }} }}")
                )
                await socket.next()
        await two.subscribe("subscription { items(first: 6) { id } }")
        error = await two.next_error()
        assert error == {
            "message": "You may have 5 different subscriptions. End one to begin another.",
            "extensions": {"code": "TOO_MANY_SUBSCRIPTIONS"},
        }
        headers = {
            "Accept": "text/event-stream",
            "Cookie": await sync_to_async(session_cookie)(eve),
        }
        async with httpx.AsyncClient(headers=headers) as client:
            answer = await client.post(
                server.http, json={"query": "subscription { items(first: 7) { id } }"}
            )
        assert "TOO_MANY_SUBSCRIPTIONS" in answer.text
        # What is equal to one of them costs nothing, whatever the words.
        await two.subscribe("# again\nsubscription Again { items(first: 1) { id } }")
        assert await two.next() == {"items": []}
        # Nobody else notices.
        await other.subscribe("subscription { items(first: 6) { id } }")
        assert await other.next() == {"items": []}
        # Who ends one may begin another.
        await one.send(type="complete", id=ids[2])
        await one.subscribe("subscription { items(first: 7) { id } }")
        assert await one.next() == {"items": []}
    refused["TOO_MANY_SUBSCRIPTIONS"] = 2


async def test_a_subscription_that_has_ended_costs_nothing(server: Server, eve: User) -> None:
    async with connect(server.websocket, eve) as socket:
        for number in range(10):
            ends = ("countdown(from: 1)", f"failing(results: {number % 2})")[number % 2]
            await socket.subscribe(f"subscription {{ a{number}: {ends} }}")
            while (await socket.receive())["type"] == "next":
                pass
    # Nor does one whose client has gone.
    for _ in range(3):
        async with connect(server.websocket, eve) as socket:
            for size in range(1, 6):
                await socket.subscribe(f"subscription {{ items(first: {size}) {{ id }} }}")
                await socket.next()
        await metrics_become(server, sources=0)


async def test_the_cost_of_subscriptions_is_counted(
    server: Server, eve: User, refused: dict[str, int]
) -> None:
    async with connect(server.websocket, eve) as socket:
        first = await socket.subscribe("subscription { items(first: 200) { id name } }")
        await socket.next()
        await socket.subscribe("subscription { items(first: 99) { id } }")
        error = await socket.next_error()
        assert error["extensions"] == {"code": "SUBSCRIPTIONS_TOO_COSTLY"}
        assert (
            "500 fields of results together, and have 401; this one may have 100"
            in (error["message"])
        )
        await socket.subscribe("subscription { items(first: 98) { id } }")
        await socket.next()
        await socket.send(type="complete", id=first)
        await socket.subscribe("subscription { items(first: 200) { id state } }")
        await socket.next()
    refused["SUBSCRIPTIONS_TOO_COSTLY"] = 1


async def test_documents_in_other_words_are_one_source(server: Server, eve: User) -> None:
    words = [
        "subscription { items(first: 1) { id ...n } } fragment n on Item { name }",
        "#1\nsubscription{items(first:1){id,...n}}fragment n on Item{name}",
        "fragment n on Item{name} query B{__typename} subscription A {items(first: 1) {id ...n}}",
    ]
    async with connect(server.websocket, eve) as socket:
        for number, query in enumerate(words):
            payload = {"query": query} | ({"operationName": "A"} if number == 2 else {})
            await socket.send(type="subscribe", id=str(number), payload=payload)
            await socket.next()
        numbers = metrics(server)
        assert (numbers["sources"], numbers["subscribers"]) == (1, 3)


@asynccontextmanager
async def forwarded(server: Server, address: str) -> AsyncIterator[Socket]:
    """An acknowledged WebSocket from behind the proxy."""
    async with websockets.connect(
        server.websocket,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        additional_headers={"X-Forwarded-For": address},
    ) as connection:
        socket = Socket(connection)
        await socket.send(type="connection_init")
        assert (await socket.receive())["type"] == "connection_ack"
        yield socket


async def test_connections_are_counted_by_address(server: Server, refused: dict[str, int]) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(forwarded(server, "10.0.0.1"))
        with pytest.raises(websockets.InvalidStatus) as denied:
            await stack.enter_async_context(forwarded(server, "10.0.0.1"))
        assert denied.value.response.status_code == 429
        assert denied.value.response.body == (
            b"You have 3 connections, and may have no more. Close some."
        )
        await stack.enter_async_context(forwarded(server, "10.0.0.2"))
    server.wait_for_log("Address 10.0.0.1 has 3 connections, and may have no more.")
    await metrics_become(server, connections=0)
    async with forwarded(server, "10.0.0.1"):
        pass
    refused["TOO_MANY_CONNECTIONS"] = 1


async def test_connections_are_counted_by_viewer(
    server: Server, eve: User, bob: User, refused: dict[str, int]
) -> None:
    cookie = await sync_to_async(session_cookie)(eve)
    events = {"Accept": "text/event-stream", "Cookie": cookie}
    query = {"query": "subscription { silent }"}
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(connect(server.websocket, eve))
        client = await stack.enter_async_context(httpx.AsyncClient(headers=events))
        await stack.enter_async_context(client.stream("POST", server.http, json=query))
        await metrics_become(server, connections=3)
        refusal = await client.post(server.http, json=query)
        assert refusal.status_code == 429
        assert refusal.headers["Retry-After"] == "5"
        assert "You have 3 connections" in refusal.text
        assert refusal.json()["errors"][0]["extensions"] == {"code": "TOO_MANY_CONNECTIONS"}
        with pytest.raises(websockets.InvalidStatus):
            await stack.enter_async_context(connect(server.websocket, eve))
        async with connect(server.websocket, bob):
            pass
        # Queries need no connection of this kind.
        assert await post(server.http, "{ items { id } }", eve) == {"data": {"items": []}}
    refused["TOO_MANY_CONNECTIONS"] = 2


async def test_operations_at_once_are_counted_over_all_transports(
    server: Server, eve: User, bob: User, refused: dict[str, int]
) -> None:
    item = await Item.objects.acreate(owner=eve)
    change = f"mutation {{ setState(id: {item.pk}, state: DONE) {{ id }} }}"
    query = {"query": "{ __typename }"}
    hers, his = [{"Cookie": await sync_to_async(session_cookie)(user)} for user in (eve, bob)]
    async with connect(server.websocket, eve) as socket, httpx.AsyncClient() as client:
        with written_by_another(Item.objects.all(), name="other"):
            for _ in range(5):  # each of which waits for the other's transaction
                await socket.subscribe(change)
            assert await code_of(socket) == "TOO_MANY_OPERATIONS"
            answer = await client.post(server.http, json=query, headers=hers)
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == "1"
            assert answer.json()["errors"][0]["extensions"] == {"code": "TOO_MANY_OPERATIONS"}
            answer = await client.post(server.http, json=query, headers=his)
            assert answer.json() == {"data": {"__typename": "Query"}}
        for _ in range(4):
            assert await socket.next() == {"setState": {"id": str(item.pk)}}
            assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("{ __typename }")
        assert await socket.next() == {"__typename": "Query"}
    refused["TOO_MANY_OPERATIONS"] = 2


class Flood:
    """Many operations at once of somebody who is signed in, and how many have been answered."""

    def __init__(self, socket: Socket) -> None:
        self.answered = 0
        self.has_ended = 0
        self._socket = socket
        self._task: asyncio.Task[None] | None = None

    async def send(self, *queries: str) -> None:
        """Send all without waiting for any answer."""
        for query in queries:
            await self._socket.subscribe(query)
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Read no more. Raise what reading has raised."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            self.answered += message["type"] == "next"
            self.has_ended += message["type"] != "next"


async def until(is_done: Callable[[], bool]) -> None:
    """Wait until something is done. Raise TimeoutError."""
    async with asyncio.timeout(3 * PATIENCE_SECONDS):
        while not is_done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


EXPENSIVE = f"items(first: 200) {{ {MANY_FIELDS} }}"
# Each is told a number, by which it differs from the others.
FLOODS: dict[str, Callable[[int], str]] = {
    "expensive queries": lambda _: f"{{ {EXPENSIVE} }}",
    "mutations": lambda _: "mutation { createItem { id } }",
    "documents": lambda n: "{" + " ".join(f"a{n}x{i}: __typename" for i in range(200)) + "}",
    "invalid documents": lambda n: "{" + " ".join(f"a{n}x{i}" for i in range(300)) + "}",
}


@pytest.mark.parametrize(
    ("name", "is_signed_in"),
    # Strangers are refused the others before there is any work.
    [(name, True) for name in FLOODS] + [(name, False) for name in FLOODS if "doc" in name],
)
async def test_who_floods_waits_and_nobody_else(
    name: str, is_signed_in: bool, guarded_server: Server, eve: User, bob: User
) -> None:
    """The others' operation comes after all of a flood, and is answered before half of it."""
    await Item.objects.abulk_create(Item(owner=user) for user in (eve, bob) for _ in range(200))
    server = guarded_server
    async with (
        connect(server.websocket, eve) if is_signed_in else forwarded(server, "::1") as flooding,
        connect(server.websocket, bob) if is_signed_in else forwarded(server, "1::1") as one,
    ):
        flood = Flood(flooding)
        await flood.send(*(FLOODS[name](number) for number in range(40)))
        before = flood.has_ended
        # SQLite has no queue of writers, but readers need not wait for them.
        await one.subscribe(
            "{ items(first: 1) { id } }" if name == "mutations" else FLOODS[name](40)
        )
        await one.receive()
        assert flood.has_ended <= before + 20
        await until(lambda: flood.has_ended == 40)
        await flood.stop()


async def test_others_hear_of_a_change_before_a_flood_of_sources_does(
    guarded_server: Server, eve: User, bob: User
) -> None:
    await Item.objects.abulk_create(Item(owner=user) for user in (eve, bob) for _ in range(200))
    queries = [f"subscription {{ a{n}: items(first: 200) {{ {MANY_FIELDS} }} }}" for n in range(5)]
    queries += [f"subscription {{ items(first: {n}) {{ id }} }}" for n in range(1, 90)]
    async with connect(guarded_server.websocket, eve) as flooding:
        flood = Flood(flooding)
        await flood.send(*queries)
        await until(lambda: flood.answered == len(queries))
        async with connect(guarded_server.websocket, bob) as other:
            await other.subscribe("subscription { item { id } }")
            await other.next()
            flood.answered = 0
            await Item.objects.abulk_create([Item(owner=eve), Item(owner=bob)])
            await other.next()
            assert flood.answered <= 30
        await flood.stop()
