"""The limit: no GraphQL at all, the same bytes written to each socket by the shortest way."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from django.core.asgi import get_asgi_application
from starlette.types import Receive, Scope, Send

get_asgi_application()

from django.contrib.auth.models import User  # noqa: E402

from app.changes.feed import Feed, backend_for  # noqa: E402
from app.database.lifespan import opened  # noqa: E402
from orders.models import Order  # noqa: E402

feed = Feed(backend_for("default"))


class Broadcast:
    """An ASGI app that tells everybody the newest order."""

    def __init__(self) -> None:
        self._sends: set[Send] = set()
        self._message: dict[str, Any] = {}
        self._is_known = asyncio.Event()

    async def run(self) -> None:
        """Read the newest order after each change and send it to all, one after the other."""
        async for _change in feed.watch(Order, User):
            self._message = {"type": "websocket.send", "text": await newest_as_text()}
            self._is_known.set()
            for send in list(self._sends):
                with suppress(OSError):  # The client has gone.
                    await send(self._message)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one subscriber; whatever it asks for, it gets the newest order."""
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        try:
            while (event := await receive())["type"] == "websocket.receive":
                if "connection_init" in event["text"]:
                    await send({"type": "websocket.send", "text": '{"type":"connection_ack"}'})
                elif "subscribe" in event["text"]:
                    await self._is_known.wait()
                    self._sends.add(send)
                    await send(self._message)
        finally:
            self._sends.discard(send)


async def newest_as_text() -> str:
    """The message of the protocol that carries the newest order."""
    order = await Order.objects.select_related("user").alast()
    user = {"username": order.user.username, "email": order.user.email} if order else {}
    data = {"date": str(order.date), "state": order.state, "user": user} if order else None
    message = {"id": "1", "type": "next", "payload": {"data": {"getOrder": data}}}
    return json.dumps(message, separators=(",", ":"))


broadcast = Broadcast()


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Follow the database while the server runs."""
    await receive()
    async with opened(threads=8), feed:
        task = asyncio.create_task(broadcast.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        await asyncio.wait((task,))
    await send({"type": "lifespan.shutdown.complete"})


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """No router and no middleware: ASGI as uvicorn speaks it."""
    if scope["type"] == "lifespan":
        await serve_lifespan(receive, send)
    else:
        await broadcast(scope, receive, send)
