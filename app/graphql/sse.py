"""A subscription as server-sent events, in the protocol's distinct connections mode.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio

from starlette.types import Receive, Send

from app.graphql.context import Context
from app.graphql.engine import Engine, Operation
from app.graphql.link import Link, abort

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait until it has a buffer full
]
COMPLETE = "event: complete\ndata:\n\n"


class EventStream:
    """One event stream: a member of a shared operation."""

    def __init__(self, engine: Engine, operation: Operation, context: Context) -> None:
        self._engine = engine
        self._operation = operation
        self._context = context
        self._link = Link()
        self._sent_at = asyncio.get_running_loop().time()

    async def run(self, receive: Receive, send: Send) -> None:
        """Stream results until the operation ends or the client goes."""

        async def send_event(event: str) -> None:
            more = not event.endswith(COMPLETE)
            await send({"type": "http.response.body", "body": event.encode(), "more_body": more})
            if not more:
                self._link.close(1000, "Complete")

        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        operation = self._engine.join(self._operation, self._context, self)
        try:
            end = await self._link.run(_until_disconnected(receive), send_event)
        finally:
            operation.leave(self)
        if end is not None and end.code == 1008:
            abort(send)

    def next(self, result: str) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self._link.outbox.put("next", event(result))

    def error(self, errors: str) -> None:
        """Send the errors as a last result."""
        self._link.outbox.put("last", single_event(f'{{"errors":{errors}}}'))

    def complete(self) -> None:
        """Tell the client that the operation is over."""
        self._link.outbox.put("last", COMPLETE)

    def check(self, now: float) -> None:
        """Send a comment when it is time, so that proxies keep the connection; close if stuck."""
        limits = self._engine.limits
        if self._link.is_stuck(now, limits.send_seconds):
            self._link.close(1008, "Too slow: what was sent is not being read")
        elif now - self._sent_at > limits.ping_seconds:
            self._sent_at = now
            self._link.outbox.put("keep-alive", ":\n\n")


def event(result: str) -> str:
    """The event that carries an encoded result."""
    return f"event: next\ndata: {result}\n\n"


def single_event(result: str) -> str:
    """The whole stream of an operation that has this one result."""
    return event(result) + COMPLETE


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
