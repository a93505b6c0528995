"""The newest order, read once for each change, for servers that hand it to each subscriber."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from django.contrib.auth.models import User

from app.changes.feed import Feed, backend_for
from app.database.lifespan import opened
from orders.models import Order

feed = Feed(backend_for("default"))


class Newest:
    """Publishes to whoever follows, as a publish and subscribe library in the process would."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._is_known = asyncio.Event()
        self._followers: set[asyncio.Event] = set()

    async def run(self) -> None:
        """Follow the database for ever."""
        async for _change in feed.watch(Order, User):
            self._order = await Order.objects.select_related("user").alast()
            self._is_known.set()
            for follower in self._followers:
                follower.set()

    async def follow(self) -> AsyncGenerator[Order | None, None]:
        """The newest order now, and each newer one; who is slow skips some."""
        await self._is_known.wait()
        is_newer = asyncio.Event()
        self._followers.add(is_newer)
        try:
            while True:
                yield self._order
                await is_newer.wait()
                is_newer.clear()
        finally:
            self._followers.discard(is_newer)


newest = Newest()


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    """Follow the database while the server runs."""
    async with opened(threads=8), feed:
        task = asyncio.create_task(newest.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
