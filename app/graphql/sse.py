"""A subscription as server-sent events, in the protocol's distinct connections mode.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
import logging
from typing import Final

from starlette.types import Receive, Send

from app.graphql.engine import Engine, Operation
from app.graphql.link import EXPIRED, TOO_SLOW, CloseError, Link

logger = logging.getLogger(__name__)

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait until it has a buffer full
]
COMPLETE = "event: complete\ndata:\n\n"
COMPLETED = CloseError(1000, "Completed")


class EventStream:
    """One event stream: a member of a shared operation."""

    def __init__(self, engine: Engine, link: Link) -> None:
        self.link: Final = link
        self._engine = engine
        self._commented_at = asyncio.get_running_loop().time()

    async def run(self, operation: Operation, receive: Receive, send: Send) -> None:
        """Stream results until the operation ends or the client goes.

        Raises TooManySubscriptionsError before anything is sent.
        """

        async def send_event(event: str) -> None:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            if event.endswith(COMPLETE):
                self.link.close(COMPLETED)

        shared = self._engine.join(operation, self.link.session.viewer, self)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            end = await self.link.run(_until_disconnected(receive), send_event)
        finally:
            shared.leave(self)
        if end is not None:
            if end is not COMPLETED:
                logger.info("Event stream ended with %s: %s", end.code, end.reason)
            await self.link.finish(send, {"type": "http.response.body"})
            # uvicorn complains of who returns before a connection that was cut is gone.
            await _until_disconnected(receive)

    def next(self, result: str) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self.link.outbox.put("next", event(result))

    def error(self, errors: str) -> None:
        """Send the errors as a last result."""
        self.link.outbox.put("last", single_event(f'{{"errors":{errors}}}'))

    def complete(self) -> None:
        """Tell the client that the operation is over."""
        self.link.outbox.put("last", COMPLETE)

    def check(self, now: float) -> None:
        """Send a comment when it is time, so that proxies keep the connection; end what is over."""
        limits = self._engine.limits
        if self.link.is_stuck(now, limits.send_seconds):
            self.link.close(TOO_SLOW)
        elif self.link.has_expired:
            self.link.close(EXPIRED)
        elif now - self._commented_at > limits.ping_seconds:
            self._commented_at = now
            self.link.outbox.put("keep-alive", ":\n\n")


def event(result: str) -> str:
    """The event that carries an encoded result."""
    return f"event: next\ndata: {result}\n\n"


def single_event(result: str) -> str:
    """The whole stream of an operation that has this one result."""
    return event(result) + COMPLETE


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
