"""How connections end that the server ends: with the process, or with the viewer's rights."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.utils import timezone
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.clients import connect, session_cookie, written_by_another
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import INIT, closing, frame, open_websocket, reset, tcp
from tests.server import Server

SUBSCRIPTION = "subscription { item { id } }"
SUBSCRIBE = json.dumps({"type": "subscribe", "id": "1", "payload": {"query": SUBSCRIPTION}})


async def subscribed(server: Server, cookie: str, stack: AsyncExitStack) -> ClientConnection:
    """A subscribed WebSocket with a session, open while the stack is."""
    connection = await stack.enter_async_context(
        websockets.connect(
            server.websocket,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers={"Cookie": cookie},
        )
    )
    await connection.send(INIT)
    await connection.recv()
    await connection.send(SUBSCRIBE)
    assert json.loads(await connection.recv())["type"] == "next"
    return connection


async def streamed(server: Server, cookie: str, stack: AsyncExitStack) -> httpx.Response:
    """A running event stream with a session, open while the stack is."""
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
    headers = {"accept": "text/event-stream", "cookie": cookie}
    return await stack.enter_async_context(
        client.stream("POST", server.http, json={"query": SUBSCRIPTION}, headers=headers)
    )


def sign_out(user: User) -> None:
    """Delete the sessions, as signing out does."""
    for session in Session.objects.all():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()


def deactivate(user: User) -> None:
    """Forbid the user to sign in."""
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    """Change the password, which ends the user's sessions."""
    user.set_password("another")
    user.save()


def make_staff(user: User) -> None:
    """Let the user into the admin."""
    User.objects.filter(pk=user.pk).update(is_staff=True)


def permit(user: User) -> None:
    """Give the user a permission."""
    user.user_permissions.add(Permission.objects.get(codename="view_item"))


def permit_group(user: User) -> None:
    """Give the user's group a permission."""
    Group.objects.get(user=user).permissions.add(Permission.objects.get(codename="add_item"))


def put_into_group(user: User) -> None:
    """Give the user the permissions of a group."""
    group = Group.objects.create(name="changers")
    group.permissions.add(Permission.objects.get(codename="change_item"))
    user.groups.add(group)


CHANGES: list[Callable[[User], None]] = [
    sign_out,
    deactivate,
    change_password,
    make_staff,
    permit,
    permit_group,
    put_into_group,
]


async def test_viewer_whose_rights_change_is_closed_with_4403(guarded_server: Server) -> None:
    users = [
        await User.objects.acreate_user(change.__name__, password="secret") for change in CHANGES
    ]
    group = await Group.objects.acreate(name="viewers")
    await users[CHANGES.index(permit_group)].groups.aadd(group)
    unchanged = await User.objects.acreate_user("unchanged", password="secret")
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        cookies = [await sync_to_async(session_cookie)(user) for user in (*users, unchanged)]
        sockets = [await subscribed(guarded_server, cookie, stack) for cookie in cookies]
        streams = [await streamed(guarded_server, cookie, stack) for cookie in cookies]
        for change, user in zip(CHANGES, users, strict=True):
            await sync_to_async(change)(user)
        for change, socket, stream in zip(CHANGES, sockets, streams, strict=False):
            assert (change, (await closing(socket))[0]) == (change, 4403)
            assert "event: complete" not in (await stream.aread()).decode()
        # Who keeps their rights keeps the connection.
        item = await Item.objects.acreate(owner=unchanged)
        result = json.loads(await sockets[-1].recv())["payload"]
        assert result == {"data": {"item": {"id": str(item.pk)}}}
        lines = streams[-1].aiter_lines()
        while await anext(lines) != f"data: {json.dumps(result, separators=(',', ':'))}":
            pass
        # Who comes back sees what they may see now.
        staff = users[CHANGES.index(make_staff)]
        async with connect(guarded_server.websocket, staff) as again:
            await again.subscribe(SUBSCRIPTION)
            assert await again.next() == {"item": None}


async def test_connection_ends_with_its_session(guarded_server: Server) -> None:
    users = [await User.objects.acreate(username=name) for name in ("short", "long", "extended")]

    @sync_to_async
    def let_last(user: User, seconds: float) -> str:
        cookie = session_cookie(user)
        sessions = Session.objects.filter(session_key=cookie.partition("=")[2])
        assert sessions.update(expire_date=timezone.now() + timedelta(seconds=seconds)) == 1
        return cookie

    async with asyncio.timeout(30), AsyncExitStack() as stack:
        cookies = [await let_last(user, 5 if user != users[1] else 3600) for user in users]
        sockets = [await subscribed(guarded_server, cookie, stack) for cookie in cookies]
        stream = await streamed(guarded_server, cookies[0], stack)
        extended = Session.objects.filter(session_key=cookies[2].partition("=")[2])
        await extended.aupdate(expire_date=timezone.now() + timedelta(hours=1))
        assert await closing(sockets[0]) == (4403, "Forbidden: the session has expired")
        assert "event: complete" not in (await stream.aread()).decode()
        for user, socket in zip(users[1:], sockets[1:], strict=True):
            item = await Item.objects.acreate(owner=user)
            message = json.loads(await socket.recv())
            assert message["payload"] == {"data": {"item": {"id": str(item.pk)}}}


async def test_mutation_looks_for_the_rights_of_now(guarded_server: Server) -> None:
    clerk = await User.objects.acreate(username="clerk")
    await clerk.user_permissions.aadd(await Permission.objects.aget(codename="add_item"))
    async with connect(guarded_server.websocket, clerk) as socket:
        query = 'mutation { createItem(owner: "other") { id } }'
        await User.objects.acreate(username="other")
        await socket.subscribe(query)
        assert (await socket.next())["createItem"]
        assert (await socket.receive())["type"] == "complete"
        await clerk.user_permissions.aclear()
        await socket.subscribe(query)  # before the connection is reviewed, and closed
        assert (await socket.next_error())["extensions"]["code"] == "FORBIDDEN"


def by_websocket(server: Server, message: dict[str, Any], connection: socket.socket) -> None:
    """Send an operation by WebSocket."""
    sent = frame(json.dumps({"type": "subscribe", "id": "1", "payload": message}).encode())
    open_websocket(connection, server, "graphql-transport-ws", sent)


def by_websocket_given_up(
    server: Server, message: dict[str, Any], connection: socket.socket
) -> None:
    """The same, and say that the result is not wanted."""
    by_websocket(server, message, connection)
    connection.sendall(frame(b'{"type":"complete","id":"1"}'))


def by_http(server: Server, message: dict[str, Any], connection: socket.socket) -> None:
    """Send an operation by POST."""
    body = json.dumps(message)
    head = "POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])
@pytest.mark.parametrize("send", [by_websocket, by_websocket_given_up, by_http])
def test_mutation_ends_whole_without_its_client(
    send: Callable[[Server, dict[str, Any], socket.socket], None],
    leave: Callable[[socket.socket], None],
    server: Server,
) -> None:
    item = Item.objects.create(owner=User.objects.create(username="v"))
    query = f"mutation {{ setState(id: {item.pk}, state: DONE) {{ id }} }}"
    with written_by_another(Item.objects.all(), name="other"), tcp(server) as client:
        send(server, {"query": query}, client)
        server.wait_for_log(f"Setting the state of item {item.pk}.")
        leave(client)
        for _ in range(2):  # what the server reads after that, it reads after the end
            urlopen(f"http://127.0.0.1:{server.port}/health/live").close()
    ends_at = time.monotonic() + 10
    while Item.objects.get().state != "DONE":
        assert time.monotonic() < ends_at
        time.sleep(0.02)


@pytest.mark.parametrize("send", [by_websocket, by_http])
def test_mutation_ends_whole_before_the_process_does(
    send: Callable[[Server, dict[str, Any], socket.socket], None], start_server: StartServer
) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    item = Item.objects.create(owner=User.objects.create(username="v"))
    query = f"mutation {{ setState(id: {item.pk}, state: DONE) {{ id }} }}"
    with tcp(server) as client, ThreadPoolExecutor() as threads:
        with written_by_another(Item.objects.all(), name="other"):
            send(server, {"query": query}, client)
            server.wait_for_log(f"Setting the state of item {item.pk}.")
            stopped = threads.submit(server.stop)
            server.wait_for_log("Shutting down")
            assert not stopped.done()
        assert stopped.result() in (0, -signal.SIGTERM)
    assert Item.objects.get().state == "DONE"


async def test_stopping_ends_every_connection_at_once(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", GRAPHQL_MAX_RESULT_FIELDS="20000")
    user = await User.objects.acreate(username="v")
    await Item.objects.abulk_create(Item(owner=user) for _ in range(200))
    fields = " ".join(f"a{number}: state" for number in range(60))
    big = {"query": f"subscription {{ items(first: 200) {{ id {fields} }} }}"}
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        socket = await subscribed(server, "", stack)
        stream = await streamed(server, "", stack)
        # One who does not read what is sent.
        stuck = stack.enter_context(tcp(server, receive_buffer=4096))
        message = {"type": "subscribe", "id": "1", "payload": big}
        start = frame(json.dumps(message).encode())
        await asyncio.to_thread(open_websocket, stuck, server, "graphql-transport-ws", start)
        for _ in range(5):
            await Item.objects.acreate(owner=user)
            await socket.recv()
        started_at = time.monotonic()
        stopped = asyncio.create_task(asyncio.to_thread(server.stop))
        assert (await closing(socket))[0] == 1012
        text = (await stream.aread()).decode()
        assert "event: next" in text
        assert "event: complete" not in text
        assert await stopped in (0, -signal.SIGTERM)
        assert time.monotonic() - started_at < 2.9  # before the server's patience ends
    for complaint in ("Traceback", "ERROR", "Cancel"):
        assert complaint not in server.log


async def test_legacy_client_may_start_an_id_again(server: Server) -> None:
    user = await User.objects.acreate(username="v")
    await Item.objects.acreate(owner=user)
    async with (
        asyncio.timeout(10),
        websockets.connect(
            server.websocket, subprotocols=[Subprotocol("graphql-ws")]
        ) as connection,
    ):

        async def receive() -> Any:
            return json.loads(await connection.recv())

        await connection.send(INIT)
        assert [await receive(), await receive()] == [{"type": "connection_ack"}, {"type": "ka"}]
        for field in ("id", "state"):
            payload = {"query": f"subscription {{ item {{ {field} }} }}"}
            await connection.send(json.dumps({"type": "start", "id": "1", "payload": payload}))
            answer = await receive()
            assert list(answer["payload"]["data"]["item"]) == [field]
        await Item.objects.acreate(owner=user, state="DONE")
        # Only the second one lives, or the id of the new item would come, too.
        assert (await receive())["payload"] == {"data": {"item": {"state": "DONE"}}}
        await connection.send('{"type":"stop","id":"1"}')
        payload = {"query": "subscription { nothing }"}
        await connection.send(json.dumps({"type": "start", "id": "1", "payload": payload}))
        refusal = await receive()
        assert (refusal["type"], refusal["id"]) == ("error", "1")
        message = "Cannot query field 'nothing' on type 'Subscription'."
        assert refusal["payload"]["message"] == message
        assert [error["message"] for error in refusal["payload"]["errors"]] == [message]
        await connection.send('{"type":"connection_terminate"}')
        with pytest.raises(websockets.ConnectionClosedOK) as closed:
            await connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
