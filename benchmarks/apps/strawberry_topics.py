"""Strawberry on ASGI, with a topic for each user: one query for each change."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

get_asgi_application()

import strawberry  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402
from strawberry.asgi import GraphQL  # noqa: E402
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL  # noqa: E402

from benchmarks.apps.strawberry_server import OrderType  # noqa: E402
from benchmarks.apps.topics import orders_of, publishing, user_id_of  # noqa: E402
from orders.models import Order  # noqa: E402

topics: defaultdict[int, set[asyncio.Queue[Order | None]]] = defaultdict(set)


async def publish(user_id: int) -> None:
    """Hand the user's newest order to whoever follows it."""
    order = await orders_of(user_id).alast()
    for queue in topics[user_id]:
        queue.put_nowait(order)


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry.field
    async def get_orders(self, info: strawberry.Info, first: int = 50) -> list[OrderType]:
        """The newest orders of the user."""
        orders = orders_of(user_id_of(info)).order_by("-id")[:first]
        return [order async for order in orders]  # type: ignore[misc]


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def get_order(self, info: strawberry.Info) -> AsyncGenerator[OrderType | None, None]:
        """The user's newest order, which the topic brings."""
        user_id = user_id_of(info)
        queue: asyncio.Queue[Order | None] = asyncio.Queue()
        topics[user_id].add(queue)
        try:
            yield await orders_of(user_id).alast()  # type: ignore[misc]
            while True:
                yield await queue.get()  # type: ignore[misc]
        finally:
            topics[user_id].discard(queue)


schema = strawberry.Schema(Query, subscription=Subscription)
graphql: Any = GraphQL(schema, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL])
application = Starlette(
    lifespan=publishing(publish),
    routes=[Route("/graphql/", graphql, methods=["POST"]), WebSocketRoute("/graphql/", graphql)],
)
