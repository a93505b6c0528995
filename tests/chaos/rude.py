"""Clients that the server has to get rid of: they read nothing, or have vanished."""

import asyncio
import json
import socket
import time
from contextlib import AsyncExitStack, ExitStack, suppress

from tests.chaos.forwarder import Forwarder
from tests.chaos.plan import PlannedFault
from tests.chaos.site import SETTINGS
from tests.chaos.stage import Stage
from tests.chaos.world import now
from tests.protocols.raw import INIT, frame, handshake, read_to_end, read_until
from tests.server import Server

CLIENTS = 5
SUBSCRIPTIONS = 20
SELECTION = "id name state owner { username } parts { name }"
DRAIN_SECONDS = 2
CLOSING_SECONDS = 20
"""uvicorn gives a client ten to answer that it closes; the rest is for a busy machine."""
PATIENCE_SECONDS = CLOSING_SECONDS + max(
    float(SETTINGS["GRAPHQL_SEND_SECONDS"]),
    float(SETTINGS["GRAPHQL_PING_SECONDS"]) + float(SETTINGS["GRAPHQL_PONG_SECONDS"]),
)
"""After so long the server must have closed the connection of who neither reads nor answers."""


async def be_stuck(stage: Stage, fault: PlannedFault) -> None:
    """Subscribe to very much, and read none of it."""
    await asyncio.to_thread(_be_stuck, stage)


async def vanish(stage: Stage, fault: PlannedFault) -> None:
    """Subscribe, and be cut off from the network without a good-bye."""
    server = stage.site.singles[fault.number % 2]
    async with Forwarder(server.port) as forwarder, AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            connection = socket.create_connection(("127.0.0.1", forwarder.port), PATIENCE_SECONDS)
            stack.callback(connection.close)
            await asyncio.to_thread(_subscribe, connection, server, stage.world.root.cookie)
        forwarder.go_silent()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while forwarder.open_at_target:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.1)
        if forwarder.open_at_target:
            stage.world.violate(
                f"{forwarder.open_at_target} clients have vanished {PATIENCE_SECONDS} s ago, "
                "and the server still holds their connections"
            )


def _be_stuck(stage: Stage) -> None:
    server = stage.site.workers
    with ExitStack() as stack:
        connections = []
        for _ in range(CLIENTS):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(("127.0.0.1", server.port))
            _subscribe(connection, server, stage.world.root.cookie)
            connections.append(connection)
        time.sleep(PATIENCE_SECONDS)
        for connection in connections:
            connection.settimeout(DRAIN_SECONDS)
            began_at = now()
            with suppress(TimeoutError):
                read_to_end(connection)
            if now() - began_at > DRAIN_SECONDS:  # What had been sent before is read at once.
                stage.world.violate(
                    f"A client has read nothing for {PATIENCE_SECONDS} s and is still connected"
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
