"""HTTPS is kept to by every part of the server."""

import httpx
import pytest
import websockets

from tests.clients import get
from tests.conftest import StartServer

pytestmark = pytest.mark.once  # No database has a part in it.


async def test_https_is_kept_to_by_every_part(start_server: StartServer) -> None:
    server = start_server(HTTPS="true")
    secure = {"X-Forwarded-Proto": "https"}
    host = f"127.0.0.1:{server.port}"
    for path in ("/", "/graphql/?query={__typename}", "/admin/", "/static/admin/css/base.css"):
        answer = await get(server, path)
        assert answer.status_code == 301
        assert answer.headers["location"].startswith(f"https://{host}/")
        answer = await get(server, path, **secure)
        assert answer.headers["strict-transport-security"] == "max-age=3600"
    assert (await get(server, "/health/live")).status_code == 200
    assert (await get(server, "/", Host="evil.example")).status_code == 403
    query = {"query": "{ __typename }"}
    async with httpx.AsyncClient() as client:
        assert (await client.post(server.http, json=query)).status_code == 403
        answer = await client.post(server.http, json=query, headers=secure)
        assert answer.json() == {"data": {"__typename": "Query"}}
    for headers in ({}, {"Origin": f"https://{host}"}, {**secure, "Origin": f"http://{host}"}):
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(server.websocket, additional_headers=headers)
        assert refusal.value.response.status_code == 403
    protocol = [websockets.Subprotocol("graphql-transport-ws")]
    headers = {**secure, "Origin": f"https://{host}"}
    async with websockets.connect(
        server.websocket, subprotocols=protocol, additional_headers=headers
    ) as connection:
        await connection.send('{"type":"connection_init"}')
        assert await connection.recv() == '{"type":"connection_ack"}'
    assert "ERROR" not in server.log
