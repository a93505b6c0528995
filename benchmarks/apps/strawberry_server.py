"""Strawberry on ASGI: one query for each change, and each subscriber executes."""

from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

get_asgi_application()

import strawberry  # noqa: E402
import strawberry_django  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402
from strawberry.asgi import GraphQL  # noqa: E402
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL  # noqa: E402

from benchmarks.apps.article import plain_orders  # noqa: E402
from benchmarks.apps.newest import lifespan, newest  # noqa: E402
from orders.models import Order  # noqa: E402

OrderState = strawberry.enum(Order.State, name="OrderState")


@strawberry_django.type(User, name="User")
class UserType:
    """Strawberry's type for a user."""

    username: strawberry.auto
    email: strawberry.auto


@strawberry_django.type(Order, name="Order")
class OrderType:
    """Strawberry's type for an order."""

    id: strawberry.auto
    date: strawberry.auto
    state: OrderState  # type: ignore[valid-type]
    user: UserType


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry_django.field
    def get_orders(self, first: int = 50) -> list[OrderType]:
        """The newest orders."""
        orders: Any = plain_orders().order_by("-id")[:first]
        return orders  # type: ignore[no-any-return]


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def get_order(self) -> AsyncGenerator[OrderType | None, None]:
        """The newest order, which somebody else has read."""
        async for order in newest.follow():
            yield order  # type: ignore[misc]


schema = strawberry.Schema(Query, subscription=Subscription)
graphql: Any = GraphQL(schema, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL])
application = Starlette(
    lifespan=lifespan,
    routes=[Route("/graphql/", graphql, methods=["POST"]), WebSocketRoute("/graphql/", graphql)],
)
