"""Ariadne's own handler, pushed by our change feed: each subscriber queries and executes.

This project's schema without this project's sharing.
"""

from django.core.asgi import get_asgi_application

get_asgi_application()

from collections.abc import AsyncIterator  # noqa: E402
from contextlib import asynccontextmanager  # noqa: E402
from typing import Any  # noqa: E402

from ariadne.asgi import GraphQL  # noqa: E402
from ariadne.asgi.handlers import GraphQLTransportWSHandler  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402

from app.database.lifespan import opened  # noqa: E402
from app.graphql.context import Context  # noqa: E402
from app.viewer import Viewer  # noqa: E402
from benchmarks.apps.newest import feed  # noqa: E402
from orders.schema import schema  # noqa: E402

anybody = Context(Viewer(is_unrestricted=True), feed)


def context_for(_: Any, __: Any) -> Context[Viewer]:
    """Everybody is the same."""
    return anybody


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Follow the database while the server runs."""
    async with opened(threads=8), feed:
        yield


graphql = GraphQL(schema, context_value=context_for, websocket_handler=GraphQLTransportWSHandler())
application = Starlette(
    lifespan=lifespan,
    routes=[WebSocketRoute("/graphql/", graphql), Route("/graphql/", graphql)],
)
