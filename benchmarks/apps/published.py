"""Ariadne's own handler: one query for each change, and each subscriber executes."""

from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

get_asgi_application()

from ariadne import SubscriptionType, load_schema_from_path, make_executable_schema  # noqa: E402
from ariadne.asgi import GraphQL  # noqa: E402
from ariadne.asgi.handlers import GraphQLTransportWSHandler  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import WebSocketRoute  # noqa: E402

from benchmarks.apps.executing import context_for  # noqa: E402
from benchmarks.apps.newest import lifespan, newest  # noqa: E402
from orders.models import Order  # noqa: E402
from orders.schema import date_scalar, resolve_yielded, user_type  # noqa: E402

subscription = SubscriptionType()
subscription.set_field("getOrder", resolve_yielded)


@subscription.source("getOrder")
async def newest_order(_: None, __: Any) -> AsyncGenerator[Order | None, None]:
    """The newest order, which somebody else has read."""
    async for order in newest.follow():
        yield order


schema = make_executable_schema(
    load_schema_from_path("orders/schema.graphql"), [date_scalar, subscription, user_type]
)
application = Starlette(
    lifespan=lifespan,
    routes=[
        WebSocketRoute(
            "/graphql/",
            GraphQL(
                schema,
                context_value=context_for,
                websocket_handler=GraphQLTransportWSHandler(),
            ),
        )
    ],
)
