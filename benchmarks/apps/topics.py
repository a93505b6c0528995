"""What servers with a topic for each user have in common: whose order has changed, and who asks.

Somebody is who the address says they are (?user=KEY): no session is looked up, no right checked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
from django.conf import settings
from starlette.datastructures import QueryParams

from app.database.lifespan import opened
from orders.models import Order, OrderQuerySet

Publish = Callable[[int], Awaitable[None]]


def orders_of(user_id: int) -> OrderQuerySet:
    """What a user may see."""
    return Order.objects.filter(user_id=user_id).select_related("user")


def user_id_of(info: Any) -> int:
    """Who has opened the connection that an operation came by, or sent the request."""
    request = info.context["request"]
    scope = getattr(request, "consumer", request).scope  # Channels wraps it in a consumer.
    return int(QueryParams(scope["query_string"])["user"])


async def publish_always(publish: Publish) -> None:
    """Publish for each user whose orders have changed, one after the other."""
    listener = await psycopg.AsyncConnection.connect(settings.DATABASE_URL, autocommit=True)
    async with listener:
        await listener.execute("LISTEN order_of_user")
        async for notification in listener.notifies():
            await publish(int(notification.payload))


def publishing(publish: Publish) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """The lifespan of a server that publishes while it runs."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with opened(threads=8):
            task = asyncio.create_task(publish_always(publish))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait((task,))

    return lifespan
