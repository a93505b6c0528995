"""Clients that the server has to get rid of: they read nothing, or have vanished."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress

from tests.chaos.forwarder import Forwarder, count_open
from tests.chaos.plan import PlannedFault
from tests.chaos.site import SETTINGS
from tests.chaos.stage import Stage
from tests.protocols.raw import INIT, frame, handshake, read_until
from tests.server import Server

CLIENTS = 5
SUBSCRIPTIONS = 20
SELECTION = "id name state owner { username } parts { name }"
CLOSING_SECONDS = 20
"""uvicorn gives a client ten to answer that it closes; the rest is for a busy machine."""
PATIENCE_SECONDS = CLOSING_SECONDS + max(
    float(SETTINGS["GRAPHQL_SEND_SECONDS"]),
    float(SETTINGS["GRAPHQL_PING_SECONDS"]) + float(SETTINGS["GRAPHQL_PONG_SECONDS"]),
)
"""After so long the server must have closed the connection of who neither reads nor answers."""


async def be_stuck(stage: Stage, fault: PlannedFault) -> None:
    """Subscribe to very much, and read none of it."""
    server = stage.site.workers
    with ExitStack() as stack:
        ports = set()
        for _ in range(CLIENTS):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            connection.settimeout(PATIENCE_SECONDS)
            await asyncio.to_thread(connection.connect, ("127.0.0.1", server.port))
            await asyncio.to_thread(_subscribe, connection, server, stage.world.root.cookie)
            ports.add(connection.getsockname()[1])
        await _are_closed(stage, "read nothing", lambda: count_open(server.port, ports))


async def vanish(stage: Stage, fault: PlannedFault) -> None:
    """Subscribe, and be cut off from the network without a good-bye."""
    server = stage.site.singles[fault.number % 2]
    async with Forwarder(server.port) as forwarder, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            connection = socket.create_connection(("127.0.0.1", forwarder.port), PATIENCE_SECONDS)
            stack.callback(connection.close)
            await asyncio.to_thread(_subscribe, connection, server, stage.world.root.cookie)
        forwarder.go_silent()
        await _are_closed(stage, "vanished", lambda: forwarder.open_at_target)


async def _are_closed(stage: Stage, why: str, count: Callable[[], int]) -> None:
    """Wait until the server has closed the connections, or it is too late."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while count():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
    if left := count():
        stage.world.violate(
            f"{left} clients have {why} for {PATIENCE_SECONDS} s, and are still connected"
        )


def _subscribe(connection: socket.socket, server: Server, cookie: str) -> None:
    request = handshake(server).removesuffix(b"\r\n\r\n")
    connection.sendall(request + f"\r\nCookie: {cookie}\r\n\r\n".encode())
    read_until(connection, b"\r\n\r\n")
    connection.sendall(frame(INIT.encode()))
    read_until(connection, b"connection_ack")
    for number in range(SUBSCRIPTIONS):
        query = f"subscription {{ items(first: {number + 1}) {{ {SELECTION} }} }}"
        message = {"type": "subscribe", "id": str(number), "payload": {"query": query}}
        connection.sendall(frame(json.dumps(message).encode()))
