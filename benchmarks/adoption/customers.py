"""Customers in their browsers: each a WebSocket that follows the customer's own orders."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import websockets
from websockets.asyncio.client import ClientConnection

QUERY = "{ myOrders { id item state } }"

Rows = list[dict[str, str]]


@dataclass(slots=True, eq=False)
class Customer:
    """One tab of a customer, and all that came to it."""

    user: int
    session: str
    messages: list[Rows] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    close_code: int | None = None
    last_at: float = 0.0
    """When the last message came, by the monotonic clock."""

    @property
    def newest(self) -> Rows | None:
        """What the tab shows."""
        return self.messages[-1] if self.messages else None

    async def follow(self, port: int) -> None:
        """Subscribe, and take in what comes until somebody closes the socket."""
        async with websockets.connect(
            f"ws://127.0.0.1:{port}/graphql/",
            subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
            additional_headers={"Cookie": f"sessionid={self.session}"},
            origin=websockets.Origin(f"http://127.0.0.1:{port}"),
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            with suppress(websockets.ConnectionClosed):
                await self._take(socket)
        self.close_code = socket.close_code

    async def _take(self, socket: ClientConnection) -> None:
        while True:
            message = json.loads(await socket.recv())
            match message["type"]:
                case "connection_ack":
                    payload = {"query": f"subscription {QUERY}"}
                    subscribe = {"type": "subscribe", "id": "1", "payload": payload}
                    await socket.send(json.dumps(subscribe))
                case "ping":
                    await socket.send(json.dumps({"type": "pong"}))
                case "next" if "errors" not in message["payload"]:
                    self.messages.append(message["payload"]["data"]["myOrders"])
                    self.last_at = time.monotonic()
                case _:
                    self.refusals.append(message)


class Crowd:
    """Some customers, connected while the context lasts."""

    def __init__(self, port: int, customers: list[Customer]) -> None:
        self.customers = customers
        self._port = port
        self._tasks = asyncio.TaskGroup()
        self._following: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for customer in self.customers:
            self._following.append(self._tasks.create_task(customer.follow(self._port)))
        return self

    async def closed(self, customers: list[Customer], patience_seconds: float) -> None:
        """Wait until the server has closed the sockets of these, or patience ends."""
        theirs = [
            task
            for each, task in zip(self.customers, self._following, strict=True)
            if each in customers
        ]
        await asyncio.wait(theirs, timeout=patience_seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in self._following:
            each.cancel()
        await self._tasks.__aexit__(kind, error, traceback)
