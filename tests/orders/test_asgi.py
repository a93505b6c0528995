"""Each part of the project's own server is there."""

import asyncio
import json

import httpx
import pytest
import websockets
from django.contrib.auth.models import User

from orders.models import Order
from tests.clients import connect, get, post
from tests.conftest import StartServer
from tests.protocols.raw import tcp
from tests.server import Server

SUBSCRIPTION = "subscription { getOrder { state } }"


@pytest.fixture
async def whole(start_server: StartServer) -> Server:
    """The server with all that settings can turn on."""
    await Order.objects.acreate(user=await User.objects.acreate(username="v"))
    return start_server(
        DEBUG="true",
        OPEN_ACCESS="true",
        METRICS="true",
        CORS_ALLOWED_ORIGINS="https://front.example",
    )


async def test_graphql_is_there_on_each_transport(whole: Server) -> None:
    result = {"getOrder": {"state": "UNPAID"}}
    assert await post(whole.http, "{ getOrders { state } }") == {
        "data": {"getOrders": [{"state": "UNPAID"}]}
    }
    async with connect(whole.websocket) as socket:
        await socket.subscribe(SUBSCRIPTION)
        assert await socket.next() == result
    headers = {"Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(headers=headers) as client,
        client.stream("POST", whole.http, json={"query": SUBSCRIPTION}) as answer,
    ):
        line = await anext(line async for line in answer.aiter_lines() if line.startswith("data"))
        assert json.loads(line.removeprefix("data: ")) == {"data": result}
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(f"ws://127.0.0.1:{whole.port}/elsewhere")


async def test_all_else_is_there(whole: Server) -> None:
    for path in ("/health/live", "/health/ready", "/static/admin/css/base.css", "/login/"):
        assert (await get(whole, path)).status_code == 200, path
    assert "live_connections" in (await get(whole, "/metrics")).text
    for path in ("/", "/graphql/"):
        page = await get(whole, path, Accept="text/html")
        assert "data-pages" in page.text or "make pages" in page.text, path  # built or not
    allowed = await get(whole, "/graphql/?query={__typename}", Origin="https://front.example")
    assert allowed.headers["access-control-allow-origin"] == "https://front.example"
    with tcp(whole) as connection:
        connection.sendall(
            b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2621441\r\n\r\n"
        )
        assert (await asyncio.to_thread(connection.recv, 65536)).startswith(b"HTTP/1.1 413 ")


async def test_https_is_kept_to(start_server: StartServer) -> None:
    server = start_server(HTTPS="true", BOARD="true")
    for path in ("/", "/graphql/?query={__typename}", "/admin/"):
        answer = await get(server, path)
        assert (answer.status_code, answer.headers["location"][:8]) == (301, "https://")
