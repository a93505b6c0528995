"""The endpoint's address: who may use it, and from where."""

import httpx
import pytest
import websockets

from tests.clients import connect, get, post
from tests.conftest import StartServer
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.


async def test_endpoint_answers_with_and_without_the_slash(server: Server) -> None:
    for address in (server.http, server.http.rstrip("/")):
        assert await post(address, "{ __typename }") == {"data": {"__typename": "Query"}}
    async with connect(server.websocket.rstrip("/")) as client:
        await client.subscribe("{ __typename }")
        assert await client.next() == {"__typename": "Query"}


async def test_unknown_path_below_the_endpoint_is_not_graphql(server: Server) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{server.http}more", json={"query": "{ __typename }"})
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/", "/admin/", "/graphql/more", "/nowhere"])
async def test_unknown_websocket_path_is_refused(server: Server, path: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(f"ws://127.0.0.1:{server.port}{path}")
    assert refusal.value.response.status_code == 403


async def test_graphql_refuses_a_foreign_host(server: Server) -> None:
    async with httpx.AsyncClient(headers={"Host": "evil.example"}) as client:
        answer = await client.post(server.http, json={"query": "{ __typename }"})
    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.text


async def test_allowed_origin_may_use_the_api(start_server: StartServer) -> None:
    """As in the article, whose origin ends with a slash."""
    server = start_server(CORS_ALLOWED_ORIGINS="https://first-origin.io/")
    preflight = {"Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "content-type"
    async with httpx.AsyncClient(headers={"Origin": "https://first-origin.io"}) as client:
        answer = await client.options(server.http, headers=preflight)
        assert answer.status_code == 200
        allowed = answer.headers["access-control-allow-origin"]
        assert allowed == "https://first-origin.io"
        answer = await client.post(server.http, json={"query": "{ __typename }"})
        assert answer.headers["access-control-allow-origin"] == "https://first-origin.io"
        assert answer.headers["access-control-allow-credentials"] == "true"
    async with httpx.AsyncClient(headers={"Origin": "https://second-origin.io"}) as client:
        answer = await client.options(server.http, headers=preflight)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


async def test_long_accept_header_is_refused_cheaply(server: Server) -> None:
    headers = {"Accept": "a/b" + ";q=1" * 7_000}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(server.http, json={"query": "{ __typename }"})
    assert answer.status_code == 406


async def test_answers_are_kept_out_of_caches(server: Server) -> None:
    answer = await get(server, "/graphql/?query={__typename}")
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert answer.headers["cache-control"] == "no-store"
