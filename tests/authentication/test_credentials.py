"""What comes together: stale cookies, tokens, a proxy's own password, and whose budgets count."""

import json
from contextlib import AsyncExitStack

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from websockets.typing import Subprotocol

from tests.clients import Socket, connect, session_cookie
from tests.conftest import StartServer
from tests.items.owners import create_owners
from tests.protocols.raw import closing, websocket
from tests.server import Server

ITEMS = "{ items { owner { username } } }"
MINE = {"items": [{"owner": {"username": "ada"}}]}
STALE = {"Cookie": "sessionid=stale"}
ENDED = "The session has ended. Sign in again."
BASIC = {"Authorization": "Basic cHJveHk6c2VjcmV0"}


@pytest.fixture
def ada(transactional_db: None) -> User:
    """Somebody with an item; another has one, too."""
    return create_owners()


async def payload_of(user: User) -> dict[str, str]:
    """What `connection_init` may carry."""
    cookie = await sync_to_async(session_cookie)(user)
    return {"authorization": f"Bearer {cookie.partition('=')[2]}"}


def is_dropped(cookie: str) -> bool:
    """Whether `Set-Cookie` makes browsers forget the session."""
    return cookie.startswith('sessionid=""') and "Max-Age=0" in cookie and "Path=/" in cookie


async def mine(socket: Socket) -> None:
    """Ask for items over a socket of ada's."""
    await socket.subscribe(f"subscription {ITEMS}")
    assert await socket.next() == MINE


@pytest.mark.once
async def test_stale_cookie_is_told_and_dropped(guarded_server: Server) -> None:
    query = {"query": "{ __typename }"}
    async with httpx.AsyncClient() as client:
        client.cookies.set("sessionid", "stale", "127.0.0.1")
        answer = await client.post(guarded_server.http, json=query)
        assert answer.status_code == 401
        [error] = answer.json()["errors"]
        assert error == {"message": ENDED, "extensions": {"code": "UNAUTHENTICATED"}}
        assert is_dropped(answer.headers["set-cookie"])
        assert not client.cookies
        answer = await client.post(guarded_server.http, json=query)
        assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.once
async def test_stale_cookie_of_a_socket_is_dropped_by_its_handshake(guarded_server: Server) -> None:
    async with websockets.connect(
        guarded_server.websocket,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        additional_headers=STALE,
    ) as connection:
        assert connection.response is not None
        assert is_dropped(connection.response.headers["set-cookie"])
        await connection.send('{"type":"connection_init"}')
        assert await closing(connection) == (4403, f"Forbidden: {ENDED}")
    async with connect(guarded_server.websocket) as socket:
        await socket.subscribe("{ __typename }")
        assert await socket.next() == {"__typename": "Query"}


async def test_token_counts_beside_a_stale_cookie(guarded_server: Server, ada: User) -> None:
    payload = await payload_of(ada)
    async with connect(guarded_server.websocket, payload=payload, headers=STALE) as socket:
        await mine(socket)
    async with httpx.AsyncClient(headers={**STALE, **payload}) as client:
        answer = await client.post(guarded_server.http, json={"query": ITEMS})
    assert answer.json() == {"data": MINE}
    assert "set-cookie" not in answer.headers


async def test_token_counts_more_than_the_cookie(guarded_server: Server, ada: User) -> None:
    bob = await User.objects.aget(username="bob")
    payload = await payload_of(ada)
    async with connect(guarded_server.websocket, bob, payload) as socket:
        await mine(socket)
    # A wrong one is no reason to be who the cookie says.
    async with connect(guarded_server.websocket, ada) as socket:
        await mine(socket)
        await socket.send(type="ping", payload={"authorization": "Bearer rubbish"})
        assert await closing(socket.connection) == (4403, f"Forbidden: {ENDED}")


async def test_password_of_a_proxy_is_nobodys_token(guarded_server: Server, ada: User) -> None:
    async with httpx.AsyncClient(headers=BASIC) as client:
        answer = await client.post(guarded_server.http, json={"query": "{ __typename }"})
        assert answer.json() == {"data": {"__typename": "Query"}}
        cookie = {"Cookie": await sync_to_async(session_cookie)(ada)}
        answer = await client.post(guarded_server.http, json={"query": ITEMS}, headers=cookie)
        assert answer.json() == {"data": MINE}
    payload = await payload_of(ada)
    async with connect(guarded_server.websocket, payload=payload, headers=BASIC) as socket:
        await mine(socket)


async def test_wrong_token_is_never_anonymous(guarded_server: Server, ada: User) -> None:
    payload = await payload_of(ada)
    await Session.objects.all().adelete()
    wrong = [payload, {"token": "x"}, {"token": "\0"}, {"AUTHORIZATION": "Bearer x y"}]
    for each in wrong:
        async with websocket(guarded_server) as connection:
            await connection.send(json.dumps({"type": "connection_init", "payload": each}))
            await connection.send(
                json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}})
            )
            assert await closing(connection) == (4403, f"Forbidden: {ENDED}")
    for malformed in ("Digest x", "x", 7, ["Bearer x"]):
        async with websocket(guarded_server) as connection:
            await connection.send(
                json.dumps({"type": "connection_init", "payload": {"authorization": malformed}})
            )
            assert await closing(connection) == (
                4403,
                'Forbidden: A token comes as "Bearer TOKEN".',
            )


async def test_sockets_count_for_the_user_of_their_token(
    share_server: StartServer, ada: User
) -> None:
    server = share_server(Server, GRAPHQL_MAX_CONNECTIONS_PER_VIEWER="2")
    payload = await payload_of(ada)
    for _ in range(2):
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(connect(server.websocket, payload=payload))
            # The address has none of them.
            for _ in range(2):
                await stack.enter_async_context(connect(server.websocket))
            with pytest.raises(websockets.InvalidStatus, match="429"):
                await stack.enter_async_context(connect(server.websocket))
        async with AsyncExitStack() as stack:
            cookie = {"Cookie": f"sessionid={payload['authorization'].split()[1]}"}
            await stack.enter_async_context(connect(server.websocket, headers=cookie))
            await stack.enter_async_context(connect(server.websocket, payload=payload))
            connection = await stack.enter_async_context(websocket(server))
            await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
            message = "You have 2 connections, and may have no more. Close some."
            assert await closing(connection) == (1013, message)
