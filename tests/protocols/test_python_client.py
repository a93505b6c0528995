"""`gql`, the client for Python, on each transport that it and the server share."""

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import User
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from tests.items.models import Item
from tests.server import Server

ITEM = {"state": "OPEN"}
NEWEST = gql("subscription { item { state } }")


async def test_python_client_asks_by_http(server: Server) -> None:
    await User.objects.acreate(username="valentine")
    mutation = gql('mutation { createItem(owner: "valentine") { state } }')
    async with Client(transport=HTTPXAsyncTransport(server.http)) as session:
        assert await session.execute(mutation) == {"createItem": {"state": "OPEN"}}
        with pytest.raises(TransportQueryError, match="Cannot query field 'nothing'"):
            await session.execute(gql("{ nothing }"))


@pytest.mark.parametrize("subprotocol", ["graphql-transport-ws", "graphql-ws"])
async def test_python_client_follows(subprotocol: Any, server: Server) -> None:
    user = await User.objects.acreate(username="valentine")
    item = await Item.objects.acreate(owner=user)
    transport = WebsocketsTransport(server.websocket, subprotocols=[subprotocol])
    async with asyncio.timeout(10), Client(transport=transport) as session:
        assert await session.execute(gql("{ items { state } }")) == {"items": [ITEM]}
        results = session.subscribe(NEWEST)
        assert await anext(results) == {"item": {"state": "OPEN"}}
        await Item.objects.filter(pk=item.pk).aupdate(state="DONE")
        assert await anext(results) == {"item": {"state": "DONE"}}
        await results.aclose()
        with pytest.raises(TransportQueryError, match="Cannot query field 'nothing'"):
            await anext(session.subscribe(gql("subscription { nothing }")))
