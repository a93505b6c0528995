"""The article with Django's async ORM, and without Channels."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

get_asgi_application()

from ariadne.asgi import GraphQL  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402

from benchmarks.apps.article import plain_orders, schema_with  # noqa: E402
from orders.models import Order  # noqa: E402


async def poll(_: None, __: Any) -> AsyncGenerator[Order | None, None]:
    """Read the newest order each second."""
    while True:
        await asyncio.sleep(1)
        yield await plain_orders().alast()


graphql = GraphQL(schema_with(poll))
application = Starlette(
    routes=[Route("/graphql/", graphql, methods=["POST"]), WebSocketRoute("/graphql/", graphql)],
)
