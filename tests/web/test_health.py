"""What a load balancer is told."""

import asyncio
from pathlib import Path

import httpx
import pytest
import websockets
from django.contrib.auth.models import User

from app import __version__
from tests.clients import get, post, written_by_another
from tests.conftest import StartServer
from tests.items.models import Item
from tests.server import Server


async def test_health(server: Server) -> None:
    assert (await get(server, "/health/live")).json() == {"status": "live", "version": __version__}
    assert (await get(server, "/health/ready")).json() == {"status": "ready"}


async def test_pool_in_use_is_not_ready(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", DATABASE_POOL_SIZE="1")
    item = await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    query = f"mutation {{ setState(id: {item.pk}, state: DONE) {{ id }} }}"
    with written_by_another(Item.objects.all(), name="other"):
        task = asyncio.create_task(post(server.http, query))
        while (answer := await get(server, "/health/ready")).status_code == 200:
            pass
        assert (answer.status_code, "its pool" in answer.text) == (503, True)
        assert (await get(server, "/health/live")).status_code == 200
    assert "errors" not in await task
    assert (await get(server, "/health/ready")).status_code == 200


class Unready(Server):
    """A server that is started wrongly."""

    arguments = ("--lifespan", "off")
    ready_path = "/health/live"


async def test_without_its_lifespan_nothing_is_live_and_the_log_says_so(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    server = Unready(tmp_path / "log", database_url, DEBUG="true", OPEN_ACCESS="true")
    with server:
        assert (await get(server, "/health/ready")).status_code == 503
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(
                server.websocket, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
            )
        assert refusal.value.response.status_code == 503
        query = {"query": "subscription { item { id } }"}
        async with httpx.AsyncClient(headers={"Accept": "text/event-stream"}) as client:
            answer = await client.post(server.http, json=query)
        assert answer.status_code == 503
        assert "lifespan off" in answer.text
    assert "refused: The server runs with its lifespan off" in server.log
    assert "ERROR" not in server.log
