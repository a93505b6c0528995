"""A subscription as server-sent events, in the protocol's distinct connections mode.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

import asyncio
import logging
from typing import Final

from starlette.types import Receive, Send

from ..graphql.engine import Engine
from ..graphql.limits import Limits
from ..graphql.preparation import Operation
from ..tracing import Link
from .clients import RESTART, Clients
from .connection import Close, Connection
from .outbox import Newest

logger = logging.getLogger(__name__)

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would wait until it has a buffer full
    (b"x-content-type-options", b"nosniff"),
]
COMPLETE = b"event: complete\ndata:\n\n"
COMPLETED: Final = Close(1000, "Completed")


class EventStream(Newest):
    """One event stream: a subscriber of a shared operation."""

    def __init__(
        self, engine: Engine, limits: Limits, clients: Clients, connection: Connection
    ) -> None:
        super().__init__()
        self.connection: Final = connection
        self._engine = engine
        self._clients = clients
        self._limits = limits
        self._commented_at = asyncio.get_running_loop().time()

    async def run(
        self, operation: Operation, receive: Receive, send: Send, link: Link | None = None
    ) -> None:
        """Stream results until the operation ends or the client goes.

        Raise LimitError before anything is sent.
        """

        async def send_event(event: bytes) -> None:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if event.endswith(COMPLETE):
                self.connection.close(COMPLETED)

        viewer, account = self.connection.session.viewer, self.connection.account
        shared = self._engine.subscribe(operation, viewer, self, account, link)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            close = await self.connection.run(until_disconnected(receive), send_event)
        finally:
            shared.leave(self)
        if close is not None:
            if close is not COMPLETED:
                self._clients.closed[close.code] += 1
                if close is not RESTART:  # of which `Clients` has told
                    logger.info("Event stream closed: %s", close.reason)
            await self.connection.finish(send, {"type": "http.response.body"})
            # uvicorn complains of who returns before a connection that was cut is gone.
            await until_disconnected(receive)

    def next(self, result: bytes) -> None:
        """Send a result, instead of an older one that is still unsent."""
        self.connection.outbox.put(self, *event(result))

    def error(self, errors: str) -> None:
        """Send the errors as a last result."""
        self.connection.outbox.put("last", single_event(f'{{"errors":{errors}}}'.encode()))

    def complete(self) -> None:
        """Tell the client that the operation is over."""
        self.connection.outbox.put("last", COMPLETE)

    def check(self, now: float) -> float:
        """Send a comment when it is time, so that proxies keep the connection.

        Return after how many seconds to look again.
        """
        if self.connection.close_if_due(now, self._limits.send_seconds):
            return 0.0
        waited = now - self._commented_at
        if waited <= self._limits.ping_seconds:
            quiet = self.connection.quiet_seconds(self._limits.send_seconds)
            return min(quiet, self._limits.ping_seconds - waited)
        self._commented_at = now
        self.connection.outbox.put("keep-alive", b":\n\n")
        return 0.0


def event(result: bytes) -> tuple[bytes, ...]:
    """Return the event that carries an encoded result, in parts."""
    return b"event: next\ndata: ", result, b"\n\n"


def single_event(result: bytes) -> bytes:
    """Return the whole stream of an operation that has this one result."""
    return b"".join((*event(result), COMPLETE))


async def until_disconnected(receive: Receive) -> None:
    """Wait until the client has gone, whatever else it sends."""
    while (await receive())["type"] != "http.disconnect":
        pass
