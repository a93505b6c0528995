"""No answer is longer than it may be, on any transport, and none waits long for its reader."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from tests.clients import connect
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import (
    frame,
    metrics,
    metrics_become,
    open_websocket,
    read_to_end,
    read_until,
    reset,
    tcp,
    websocket,
)
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.

MAX_BYTES = 4000
LONG = "{ items(first: 200) { id name } }"
TOO_LONG = {
    "data": None,
    "errors": [
        {
            "message": f"The result is longer than {MAX_BYTES} bytes: ask for fewer fields, or "
            "shorter lists.",
            "extensions": {"code": "RESULT_TOO_LARGE"},
        }
    ],
}


@pytest.fixture
def server(share_server: StartServer, transactional_db: None) -> Server:
    """A server whose answers are short."""
    return share_server(
        Server,
        DEBUG="true",
        OPEN_ACCESS="true",
        METRICS="true",
        GRAPHQL_MAX_RESULT_BYTES=str(MAX_BYTES),
    )


@pytest.fixture
def user(transactional_db: None) -> User:
    """Somebody whose items have long names."""
    user = User.objects.create_user("ada")
    Item.objects.bulk_create(Item(owner=user, name="n" * 40) for _ in range(100))
    return user


async def ask(server: Server, accept: str, query: str) -> httpx.Response:
    """Ask over HTTP."""
    async with httpx.AsyncClient(headers={"Accept": accept}) as client:
        return await client.post(server.http, json={"query": query})


def event(text: str) -> Any:
    """The one result of an event stream that is complete."""
    head, _, rest = text.partition("data: ")
    result, end = rest.split("\n", 1)
    assert (head, end) == ("event: next\n", "\nevent: complete\ndata:\n\n")
    return json.loads(result)


async def test_a_long_result_is_an_error_on_all_transports(server: Server, user: User) -> None:
    for accept in ("application/json", "application/graphql-response+json"):
        answer = await ask(server, accept, LONG)
        assert (answer.status_code, answer.json()) == (200, TOO_LONG)
    assert event((await ask(server, "text/event-stream", LONG)).text) == TOO_LONG
    for subprotocol in ("graphql-transport-ws", "graphql-ws"):
        is_new = subprotocol == "graphql-transport-ws"
        async with websocket(server, subprotocol, is_ready=True) as connection:
            payload = {"query": LONG}
            start = {"type": "subscribe" if is_new else "start", "id": "1", "payload": payload}
            await connection.send(json.dumps(start))
            message = json.loads(await connection.recv())
            assert message["payload"] == TOO_LONG
            assert message["type"] == ("next" if is_new else "data")
            assert json.loads(await connection.recv()) == {"id": "1", "type": "complete"}


async def test_long_names_are_refused_before_anything_is_executed(
    server: Server, user: User
) -> None:
    before = metrics(server)
    name = "n" * 100
    for query in (
        f"{{ items(first: 200) {{ {name}: id }} }}",
        f"{{ items {{ {name}: id }} }}",
        f"{{ __schema {{ types {{ {name}: name fields {{ {name}: name }} }} }} }}",
        f"subscription {{ items(first: 200) {{ {name}: id }} }}",
    ):
        async with connect(server.websocket) as socket:
            await socket.subscribe(query)
            error = await socket.next_error()
        assert error["extensions"] == {"code": "RESULT_TOO_LARGE"}
        assert "bytes of names, but at most 4000 are allowed" in error["message"]
        if not query.startswith("subscription"):
            answer = (await ask(server, "application/json", query)).json()
            assert answer["errors"] == [error]
    after = metrics(server)
    assert after["executions_total"] == before["executions_total"]
    assert after["refused_total"] == before["refused_total"] + 7


async def test_a_mutation_is_carried_out_though_its_result_is_too_long(
    server: Server, user: User
) -> None:
    item = await Item.objects.afirst()
    assert item is not None
    names = " ".join(f"a{number}: name" for number in range(90))
    mutation = f"mutation {{ setState(id: {item.pk}, state: DONE) {{ {names} }} }}"
    answer = await ask(server, "application/json", mutation)
    assert answer.json() == TOO_LONG
    await item.arefresh_from_db()
    assert item.state == "DONE"


@pytest.mark.parametrize("kind", ["query", "subscription"])
async def test_very_many_errors_end_an_execution(
    kind: str, measured_server: Server, user: User
) -> None:
    def ask(fields: int) -> str:
        secrets = " ".join(f"a{number}: secret" for number in range(fields))
        return f"{kind} {{ items(first: 100) {{ {secrets} }} }}"

    async with connect(measured_server.websocket) as socket:
        await socket.subscribe(ask(2))
        message = await socket.receive()
        assert len(message["payload"]["errors"]) == 200
        if kind == "query":
            assert (await socket.receive())["type"] == "complete"
        await socket.subscribe(ask(3))
        error = await socket.next_error()
        assert error["extensions"] == {"code": "RESULT_TOO_LARGE"}
        assert error["message"].startswith("More than 200 fields have failed.")


async def test_a_subscription_goes_on_when_its_result_is_short_again(
    server: Server, user: User
) -> None:
    await Item.objects.all().adelete()
    async with connect(server.websocket) as socket:
        await socket.subscribe("subscription { items(first: 200) { id name } }")
        assert await socket.next() == {"items": []}
        await Item.objects.abulk_create(Item(owner=user, name="n" * 40) for _ in range(100))
        assert (await socket.next_error()) == TOO_LONG["errors"][0]  # type: ignore[index]
        await Item.objects.all().adelete()
        assert await socket.next() == {"items": []}


# Some 1,300 bytes each, of which a viewer may hold 8,000.
HELD = "subscription {{ a{}: items(first: 20) {{ id name }} }}"


async def test_what_all_subscriptions_of_a_viewer_hold_is_bounded(
    server: Server, user: User
) -> None:
    async with connect(server.websocket, user) as socket:
        for number in range(6):
            await socket.subscribe(HELD.format(number))
            await socket.next()
        await socket.subscribe(HELD.format(6))
        error = await socket.next_error()
        assert error["extensions"] == {"code": "RESULT_TOO_LARGE"}
        assert "all your subscriptions together" in error["message"]
        await socket.send(type="complete", id="1")
        await Item.objects.all().adelete()
        for _ in range(6):
            data = await socket.next()
            assert list(data.values()) == [[]]


async def test_what_strangers_share_is_not_the_first_ones(server: Server, user: User) -> None:
    """Or one could fill their share, and be the first to follow what others want to."""
    async with connect(server.websocket) as first, connect(server.websocket) as second:
        for number in range(8):
            await first.subscribe(HELD.format(number))
            await first.next()
        await second.subscribe(HELD.format(7))
        assert len((await second.next())["a7"]) == 20


LONGEST = "{ items(first: 200) { " + "x" * 4000 + ": id } }"
REQUEST = (
    "POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"
)


async def test_an_http_answer_that_nobody_reads_is_cut_off(
    measured_server: Server, user: User
) -> None:
    body = json.dumps({"query": "{ items(first: 100) { " + "x" * 9500 + ": id } }"})
    request = REQUEST.format(len(body), body).encode()
    with tcp(measured_server, receive_buffer=4096) as unread, tcp(measured_server) as read:
        unread.sendall(9 * request)  # more than the kernel takes
        read.sendall(request)
        received = await asyncio.to_thread(read_until, read, b"}]}}")
        assert len(received) > 100 * 9500
        await asyncio.to_thread(measured_server.wait_for_log, "is not being read: cut")
        received = await asyncio.to_thread(read_to_end, unread)
        assert 0 < received.count(b"HTTP/1.1 200 OK") < 9
    assert "ASGI callable" not in measured_server.log, measured_server.log


async def test_who_reads_nothing_gets_little_done(user: User, measured_server: Server) -> None:
    before = metrics(measured_server)["executions_total"]
    ask = json.dumps({"type": "subscribe", "id": "%d", "payload": {"query": LONGEST}})
    with tcp(measured_server, receive_buffer=4096) as connection:
        messages = [frame((ask % number).encode()) for number in range(90)]
        await asyncio.to_thread(
            open_websocket, connection, measured_server, "graphql-transport-ws", *messages
        )
        await metrics_become(measured_server, connections=0)  # since it is too slow
    # What the kernel takes, what is being sent, and what may wait.
    assert metrics(measured_server)["executions_total"] - before < 30


async def test_mutations_run_though_their_client_reads_nothing_and_goes(
    user: User, measured_server: Server
) -> None:
    tasks = metrics(measured_server)["tasks"]
    item = await Item.objects.afirst()
    assert item is not None
    # Names make it expensive, so that it waits until earlier results are read.
    names = " ".join(f"{letter * 7000}: id" for letter in "abcd")
    change = (
        f"mutation {{ setState(id: {item.pk}, state: DONE) {{ ...f owner {{ username }} }} "
        f"b: setState(id: {item.pk}, state: DONE) {{ ...f }} "
        f"c: setState(id: {item.pk}, state: DONE) {{ ...f }} }} fragment f on Item {{ {names} }}"
    )
    with tcp(measured_server, receive_buffer=4096) as connection:
        queries = [LONGEST] * 20 + [change] * 5
        messages = [
            {"type": "subscribe", "id": str(number), "payload": {"query": query}}
            for number, query in enumerate(queries)
        ]
        frames = [frame(json.dumps(message).encode()) for message in messages]
        await asyncio.to_thread(
            open_websocket, connection, measured_server, "graphql-transport-ws", *frames
        )
        await asyncio.sleep(0.3)
        reset(connection)
    await metrics_become(measured_server, connections=0, tasks=tasks)
    await item.arefresh_from_db()
    assert item.state == "DONE"


async def test_long_results_come_whole(measured_server: Server, user: User) -> None:
    async with connect(measured_server.websocket) as socket:
        await socket.subscribe(f"subscription {LONGEST}")
        assert len((await socket.next())["items"]) == 100
    answer = await ask(measured_server, "application/json", LONGEST)
    assert len(answer.json()["data"]["items"]) == 100
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert len(event((await ask(measured_server, "text/event-stream", LONGEST)).text)["data"]) == 1
