"""Clients without manners: bytes on a socket, frames as no library would send them."""

import asyncio
import base64
import json
import os
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.request import urlopen

import websockets
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from tests.server import Server

PATIENCE_SECONDS = 10
PATH = "/graphql/"
INIT = '{"type":"connection_init"}'
ACK = b'{"type":"connection_ack"}'


@asynccontextmanager
async def websocket(
    server: Server, subprotocol: str = "graphql-transport-ws", *, is_ready: bool = False
) -> AsyncIterator[ClientConnection]:
    """A WebSocket that sends what it is told to; acknowledged if `is_ready`."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        websockets.connect(
            server.websocket,
            subprotocols=[Subprotocol(subprotocol)],
            compression=None,
            max_size=None,
        ) as connection,
    ):
        if is_ready:
            await connection.send(INIT)
            assert json.loads(await connection.recv()) == {"type": "connection_ack"}
            if subprotocol == "graphql-ws":
                assert json.loads(await connection.recv()) == {"type": "ka"}
        yield connection


async def closing(connection: ClientConnection) -> tuple[int, str]:
    """Read until the server closes: its code and reason."""
    try:
        while True:
            await connection.recv()
    except websockets.ConnectionClosed as closed:
        if closed.rcvd is None:
            raise
        return closed.rcvd.code, closed.rcvd.reason


@contextmanager
def tcp(server: Server, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A TCP connection to the server."""
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", server.port))
        yield connection


def reset(connection: socket.socket) -> None:
    """Close so that the other side gets a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def handshake(server: Server, subprotocol: str = "graphql-transport-ws") -> bytes:
    """The request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {PATH} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {subprotocol}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes, opcode: int = 1, *, first: int | None = None) -> bytes:
    """A masked WebSocket frame; `first` replaces its first byte."""
    head = bytes([0x80 | opcode if first is None else first])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        head += b"\xfe" + struct.pack("!H", len(payload))
    else:
        head += b"\xff" + struct.pack("!Q", len(payload))
    return head + b"\0\0\0\0" + payload


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """Read until `wanted` has come: all that has."""
    received = b""
    while wanted not in received:
        chunk = connection.recv(65536)
        assert chunk, f"{wanted!r} did not come, but {received!r}."
        received += chunk
    return received


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server has closed the connection, in whatever way."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def close_code(received: bytes) -> int | None:
    """The code of the close frame at the end of what the server sent; None without one."""
    found = re.search(rb"\x88[\x02-\x7d](..)[^\x88]*\Z", received, re.DOTALL)
    return struct.unpack("!H", found[1])[0] if found else None


def metrics(server: Server) -> dict[str, int]:
    """The numbers of the server's `/metrics`; those of all pools together."""
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=PATIENCE_SECONDS) as response:
        text = response.read().decode()
    numbers: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            numbers[sample.name.removeprefix("live_")] += int(sample.value)
    return numbers


async def metrics_become(server: Server, **wanted: int | str) -> None:
    """Wait until numbers of the server's `/metrics` are as wanted, or as one of that name is."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = await asyncio.to_thread(metrics, server)
        if all(
            now[name] == (now[value] if isinstance(value, str) else value)
            for name, value in wanted.items()
        ):
            return
        assert time.monotonic() < ends_at, f"{wanted} were expected, but {now} are there."
        await asyncio.sleep(0.05)


def resident_bytes(server: Server) -> int:
    """How much memory the server's process has."""
    statm = Path(f"/proc/{server.pid}/statm").read_text()
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_websocket(
    connection: socket.socket,
    server: Server,
    subprotocol: str = "graphql-transport-ws",
    *messages: bytes,
) -> None:
    """Get an acknowledged WebSocket, then send `messages`."""
    connection.sendall(handshake(server, subprotocol))
    # What comes with the handshake, before it is answered, is none of the server's business.
    read_until(connection, b"\r\n\r\n")
    connection.sendall(frame(INIT.encode()))
    read_until(connection, ACK)
    for message in messages:
        connection.sendall(message)
