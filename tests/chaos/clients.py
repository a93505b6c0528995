"""Clients that follow items as those of browsers do: they ping, notice silence, and come back."""

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.chaos.oracle import Inbox, Oracle
from tests.chaos.site import Way
from tests.chaos.world import World
from tests.protocols.raw import INIT

FIRST_PAUSE_SECONDS: Final = 0.2
MAX_PAUSE_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 6.0
"""Of a server that pings every second; after it a client gives up the connection."""
SLOW_SECONDS: Final = 0.3
"""Between two messages that a slow client reads."""
GONE = (OSError, TimeoutError, websockets.WebSocketException, httpx.HTTPError, EOFError)


class RefusedError(EOFError):
    """The server has ended a subscription, or refused one: try again on a new connection."""


class Follower(ABC):
    """A client that keeps its subscriptions for as long as the run lasts."""

    def __init__(self, inbox: Inbox, oracle: Oracle, way: Way, seed: str) -> None:
        self.inbox = inbox
        self._oracle = oracle
        self._world: World = oracle.world
        self._way = way
        self._jitter = random.Random(f"{seed} {inbox.plan.name}")
        self._stays = iter(inbox.plan.stays)

    async def run(self) -> None:
        """Follow, and come back whenever the connection is lost."""
        attempt = 0
        while True:
            viewer = self.inbox.viewer
            if viewer.may_connect:
                with suppress(*GONE):
                    await self._stay(viewer.cookie)
                attempt = 0 if self.inbox.is_connected else attempt + 1
                self._world.counts["reconnects"] += self.inbox.is_connected
                self.inbox.end()
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempt, 8))
            await asyncio.sleep(pause * self._jitter.uniform(0.5, 1))

    async def _stay(self, cookie: str) -> None:
        """Follow until the connection is lost, or a restless client leaves."""
        tasks = [asyncio.create_task(self._follow(cookie))]
        if self.inbox.plan.manner == "restless":
            tasks.append(asyncio.create_task(self._grow_restless()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _grow_restless(self) -> None:
        await asyncio.sleep(next(self._stays, MAX_PAUSE_SECONDS))
        await self._world.may_leave.wait()

    @abstractmethod
    def _follow(self, cookie: str) -> Coroutine[Any, Any, None]:
        """Connect, subscribe, and hand over what comes, until the connection ends."""

    async def _dawdle(self) -> None:
        """A slow client reads slowly, but for the time in which all have to become right."""
        if self.inbox.plan.manner == "slow" and self._world.may_leave.is_set():
            await asyncio.sleep(SLOW_SECONDS)

    def _begin(self, cookie: str) -> None:
        self.inbox.begin(cookie.partition("=")[2])


class WebSocketFollower(Follower):
    """Follows over one WebSocket, in either subprotocol."""

    async def _follow(self, cookie: str) -> None:
        is_new = self.inbox.plan.transport == "graphql-transport-ws"
        async with self._connected(cookie) as connection:
            await connection.send(INIT)
            if json.loads(await self._receive(connection))["type"] != "connection_ack":
                raise RefusedError
            self._begin(cookie)
            for number, asked in enumerate(self.inbox.plan.asked):
                type_, payload = "subscribe" if is_new else "start", {"query": asked.document}
                await connection.send(
                    json.dumps({"type": type_, "id": str(number), "payload": payload})
                )
            while True:
                self._take(json.loads(await self._receive(connection)))
                await self._dawdle()

    def _take(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "next" | "data":
                asked = self.inbox.plan.asked[int(message["id"])]
                self._oracle.take(self.inbox, asked, message["payload"])
            case "error":
                payload = message["payload"]
                errors = payload if isinstance(payload, list) else [payload]
                self._oracle.refuse(self.inbox, errors)
                raise RefusedError
            case "complete":
                raise RefusedError
            case "ping" | "ka" | "pong":
                pass
            case _:
                self._world.violate(f"{self.inbox.name} got {message}")

    async def _receive(self, connection: ClientConnection) -> str | bytes:
        """Return the next message; answer pings. Raise TimeoutError after silence."""
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                text = await connection.recv()
            if text != '{"type":"ping"}':
                return text
            await connection.send('{"type":"pong"}')

    @asynccontextmanager
    async def _connected(self, cookie: str) -> AsyncIterator[ClientConnection]:
        connection = await websockets.connect(
            self._way.websocket,
            subprotocols=[Subprotocol(self.inbox.plan.transport)],
            additional_headers={"Cookie": cookie},
            compression=None,
            open_timeout=SILENCE_SECONDS,
            ping_interval=None,
            max_queue=4 if self.inbox.plan.manner == "slow" else 16,
            **self._way.websocket_options,
        )
        try:
            yield connection
        finally:
            # Half of them go without a good-bye.
            if self._jitter.random() < 0.5:
                connection.transport.abort()
            else:
                async with asyncio.timeout(1):
                    await connection.close()


class EventStreamFollower(Follower):
    """Follows one subscription by server-sent events."""

    async def _follow(self, cookie: str) -> None:
        (asked,) = self.inbox.plan.asked
        headers = {"Accept": "text/event-stream", "Cookie": cookie, **self._way.headers}
        timeout = httpx.Timeout(SILENCE_SECONDS)
        async with (
            httpx.AsyncClient(headers=headers, timeout=timeout, verify=self._way.trusted) as client,
            client.stream(
                "POST",
                self._way.http,
                json={"query": asked.document},
                extensions=self._way.extensions,
            ) as response,
        ):
            if response.status_code != 200:
                raise RefusedError
            self._begin(cookie)
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    result = json.loads(line.removeprefix("data: "))
                    self._oracle.take(self.inbox, asked, result)
                    if "errors" in result:
                        raise RefusedError
                    await self._dawdle()
