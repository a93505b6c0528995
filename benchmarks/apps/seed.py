"""The article as it stands: Channels' router, Ariadne, and a thread that is asked each second."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from ariadne.asgi import GraphQL  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from benchmarks.apps.article import plain_orders, schema_with  # noqa: E402
from orders.models import Order  # noqa: E402


async def poll(_: None, __: Any) -> AsyncGenerator[Order | None, None]:
    """Read the newest order each second."""
    while True:
        await asyncio.sleep(1)
        yield await database_sync_to_async(lambda: plain_orders().last())()


application = URLRouter(
    [
        path("graphql/", GraphQL(schema_with(poll))),
        path("", django),  # type: ignore[arg-type]
    ]
)
