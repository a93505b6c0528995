"""`gql`, the client for Python, on each transport that it and the server share."""

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import User
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from orders.models import Order
from tests.server import Server

ORDER = {"state": "UNPAID"}
NEWEST = gql("subscription { getOrder { state } }")


async def test_python_client_asks_by_http(server: Server) -> None:
    await User.objects.acreate(username="valentine")
    mutation = gql('mutation { createOrder(username: "valentine") { state } }')
    async with Client(transport=HTTPXAsyncTransport(server.http)) as session:
        assert await session.execute(mutation) == {"createOrder": {"state": "UNPAID"}}
        with pytest.raises(TransportQueryError, match="Cannot query field 'nothing'"):
            await session.execute(gql("{ nothing }"))


@pytest.mark.parametrize("subprotocol", ["graphql-transport-ws", "graphql-ws"])
async def test_python_client_follows(subprotocol: Any, server: Server) -> None:
    user = await User.objects.acreate(username="valentine")
    order = await Order.objects.acreate(user=user)
    transport = WebsocketsTransport(server.websocket, subprotocols=[subprotocol])
    async with asyncio.timeout(10), Client(transport=transport) as session:
        assert await session.execute(gql("{ getOrders { state } }")) == {"getOrders": [ORDER]}
        results = session.subscribe(NEWEST)
        assert await anext(results) == {"getOrder": {"state": "UNPAID"}}
        await Order.objects.filter(pk=order.pk).aupdate(state="PAID")
        assert await anext(results) == {"getOrder": {"state": "PAID"}}
        await results.aclose()
        with pytest.raises(TransportQueryError, match="Cannot query field 'nothing'"):
            await anext(session.subscribe(gql("subscription { nothing }")))
