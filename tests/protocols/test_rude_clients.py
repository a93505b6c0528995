"""Clients that break off, talk nonsense, or do not listen: each is one line in the log at most."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.items.models import Item
from tests.protocols.raw import (
    PATIENCE_SECONDS,
    close_code,
    frame,
    handshake,
    metrics,
    metrics_become,
    open_websocket,
    read_to_end,
    read_until,
    reset,
    resident_bytes,
    tcp,
)
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.

Leave = Callable[[socket.socket], None]

# Connections are looked at once a second, or a little later on a busy machine; until then a flood
# of WebSocket pings, which uvicorn answers by itself, takes some 70 MB.
MAX_GROWTH_BYTES = 128 * 1024 * 1024
NEW = ("graphql-transport-ws",)
SUBSCRIBE = frame(
    b'{"type":"subscribe","id":"1","payload":{"query":"subscription { item { id } }"}}'
)
EVENTS = (
    "POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"
)


def events(query: str) -> bytes:
    """A request for an event stream."""
    body = json.dumps({"query": query})
    return EVENTS.format(len(body), body).encode()


@pytest.fixture
async def clean(measured_server: Server) -> AsyncIterator[Server]:
    """A server on which the test must leave nothing: no client, source or task, no traceback."""
    await metrics_become(measured_server, connections=0)
    tasks = metrics(measured_server)["tasks"]
    yield measured_server
    await metrics_become(measured_server, connections=0, subscribers=0, sources=0, tasks=tasks)
    for complaint in ("Traceback", "ERROR", "ASGI callable"):
        assert complaint not in measured_server.log


# What has been sent before the client breaks off; on a WebSocket, after it is acknowledged.
BY_HTTP: dict[str, bytes] = {
    "nothing": b"",
    "half a request": b"POST /graphql/ HTT",
    "half a header": b"GET /graphql/ HTTP/1.1\r\nHost: local",
    "no HTTP": b"\x16\x03\x01\x02\x00 hello",
    "half a body": EVENTS.format(1000, "{").encode(),
    "an event stream": events("subscription { item { id } }"),
    "a query": events("{ items { id } }"),
}
BY_WEBSOCKET: dict[str, bytes] = {
    "an initialisation": b"",
    "half a header": b"\x81",
    "a header": b"\x81\xff",
    "half a message": SUBSCRIBE[:-9],
    "a subscription": SUBSCRIBE,
    "a query": frame(b'{"type":"subscribe","id":"1","payload":{"query":"{items{id}}"}}'),
    "a subscription and half a message": SUBSCRIBE + SUBSCRIBE[:9],
    "fragments without the last": frame(b'{"type":', first=0x01) + frame(b'"pi', first=0x00),
}
leaves = pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])


@leaves
async def test_http_client_that_breaks_off_leaves_nothing(leave: Leave, clean: Server) -> None:
    for sent in (*BY_HTTP.values(), handshake(clean)[:60], handshake(clean)):
        for seconds in (0, 0.05):  # before and after the server has looked at it
            with tcp(clean) as connection:
                connection.sendall(sent)
                await asyncio.sleep(seconds)
                leave(connection)


@leaves
async def test_websocket_client_that_breaks_off_leaves_nothing(leave: Leave, clean: Server) -> None:
    for sent in BY_WEBSOCKET.values():
        for seconds in (0, 0.05):
            with tcp(clean) as connection:
                await asyncio.to_thread(open_websocket, connection, clean)
                connection.sendall(sent)
                await asyncio.sleep(seconds)
                leave(connection)


async def test_many_break_off_while_results_are_sent(clean: Server) -> None:
    item = await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    clients = []
    for _ in range(50):
        client = socket.create_connection(("127.0.0.1", clean.port), PATIENCE_SECONDS)
        await asyncio.to_thread(open_websocket, client, clean, *NEW, SUBSCRIBE)
        clients.append(client)
    await metrics_become(clean, subscribers=50)
    for number, client in enumerate(clients):
        await Item.objects.filter(pk=item.pk).aupdate(state="DONE" if number % 2 else "OPEN")
        reset(client)


# What the WebSocket protocol itself forbids, and the code that RFC 6455 has for it.
BROKEN_FRAMES: dict[str, tuple[bytes, int]] = {
    "invalid UTF-8": (frame(b'{"type":"\xff"}'), 1007),
    "surrogate in UTF-8": (frame(b'"\xed\xa0\x80"'), 1007),
    "invalid UTF-8 in fragments": (frame(b"\xc3", first=0x01) + frame(b"(", first=0x80), 1007),
    "not masked": (b"\x81\x02{}", 1002),
    "reserved bit": (frame(b"{}", first=0xC1), 1002),
    "unknown opcode": (frame(b"{}", opcode=3), 1002),
    "continuation of nothing": (frame(b"{}", opcode=0), 1002),
    "message within a message": (frame(b"{", first=0x01) + frame(b"{}"), 1002),
    "long ping": (frame(b"x" * 126, opcode=9), 1002),
    "ping in fragments": (frame(b"x", first=0x09), 1002),
    "close code that must not be sent": (frame(b"\x03\xed", opcode=8), 1002),
    "half a close code": (frame(b"\x03", opcode=8), 1002),
    "size of 2^62 bytes": (b"\x81\xff\x40\0\0\0\0\0\0\0\0\0\0\0", 1009),
    "size of 17 MB": (b"\x81\xff" + (17 << 20).to_bytes(8, "big") + b"\0\0\0\0", 1009),
}


@pytest.mark.once
@pytest.mark.parametrize("is_subscribed", [False, True], ids=["new", "subscribed"])
@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_broken_frame_closes(name: str, is_subscribed: bool, clean: Server) -> None:
    sent, code = BROKEN_FRAMES[name]
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean)
        if is_subscribed:
            connection.sendall(SUBSCRIBE)
            await asyncio.to_thread(read_until, connection, b'"next"')
        connection.sendall(sent)
        assert close_code(await asyncio.to_thread(read_to_end, connection)) == code


async def test_closing_handshake_is_answered(clean: Server) -> None:
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean, *NEW, SUBSCRIBE)
        await asyncio.to_thread(read_until, connection, b'"next"')
        connection.sendall(frame((1000).to_bytes(2, "big") + b"bye", opcode=8))
        assert close_code(await asyncio.to_thread(read_to_end, connection)) == 1000


def flood(connection: socket.socket, messages: bytes, seconds: float) -> bool:
    """Send without reading until the server cuts it off: whether it did in that time."""
    ends_at = time.monotonic() + seconds
    messages *= max(1, 65536 // len(messages))
    offset = 0
    try:
        while time.monotonic() < ends_at:
            with suppress(TimeoutError):
                offset = (offset + connection.send(messages[offset:])) % len(messages)
    except ConnectionError:
        return True
    return False


ASK = b'{"type":"subscribe","id":"%d","payload":{"query":"{ %s }"}}'
FLOODS: dict[str, bytes] = {
    "pings": frame(b'{"type":"ping"}'),
    "pings with a payload": frame(b'{"type":"ping","payload":{"a":"' + b"x" * 5000 + b'"}}'),
    "invalid subscribes": b"".join(
        frame(ASK % (number, b"a b c d e f g h i j")) for number in range(100)
    ),
    "queries": b"".join(
        frame(ASK % (number, b"__schema { types { name description fields { name } } }"))
        for number in range(100)
    ),
    "WebSocket pings": frame(b"x" * 125, opcode=9),
    "empty WebSocket pings": frame(b"", opcode=9),
    "WebSocket pongs": frame(b"", opcode=10),
}


MANY_FRAMES = {
    "pings": frame(b"", opcode=9) * 1100,
    "pongs": frame(b"", opcode=10) * 1100,
    "messages": frame(b'{"type":"pong"}') * 1100,
    "empty fragments": frame(b"{", first=0x01) + frame(b"", first=0x00) * 1100,
}


@pytest.mark.once
@pytest.mark.parametrize("name", MANY_FRAMES)
async def test_very_many_frames_close(name: str, clean: Server) -> None:
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean)
        connection.sendall(MANY_FRAMES[name])
        received = await asyncio.to_thread(read_to_end, connection)
    assert close_code(received) == 1008
    assert b"Too many frames" in received


@pytest.mark.once
async def test_a_long_packet_is_read_piece_by_piece(clean: Server) -> None:
    """All of it, in its order, though it is more than one round of the event loop reads."""
    ids = range(90)
    ask = '{"type":"subscribe","id":"%d","payload":{"query":"{ __typename }","x":"%s"}}'
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean)
        connection.sendall(b"".join(frame((ask % (id_, "x" * 3000)).encode()) for id_ in ids))
        received = await asyncio.to_thread(read_until, connection, b'"id":"89","type":"complete"')
    found = re.findall(rb'"id":"(\d+)","type":"complete"', received)
    assert [int(id_) for id_ in found] == list(ids)


async def grow(server: Server, messages: bytes, seconds: float) -> tuple[bool, int]:
    """Flood the server: whether it cut the client off, and by how many bytes it grew."""
    before = most = resident_bytes(server)
    with tcp(server, receive_buffer=4096) as connection:
        await asyncio.to_thread(open_websocket, connection, server)
        connection.settimeout(0.1)
        task = asyncio.create_task(asyncio.to_thread(flood, connection, messages, seconds))
        while not task.done():
            most = max(most, resident_bytes(server))
            await asyncio.sleep(0.05)
        return await task, most - before


@pytest.mark.once
@pytest.mark.parametrize("name", FLOODS)
async def test_flood_without_reading_is_cut_off_in_bounded_memory(name: str, clean: Server) -> None:
    is_cut_off, growth_bytes = await grow(clean, FLOODS[name], 60)
    assert is_cut_off
    assert growth_bytes < MAX_GROWTH_BYTES


async def test_client_that_comes_and_goes_without_reading_leaves_nothing(clean: Server) -> None:
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean)
        connection.sendall((SUBSCRIBE + frame(b'{"type":"complete","id":"1"}')) * 1000)


@pytest.mark.parametrize("kind", ["WebSocket", "event stream"])
async def test_slow_reader_is_cut_off_and_delays_nobody(kind: str, clean: Server) -> None:
    user = await User.objects.acreate(username="v")
    await Item.objects.abulk_create(Item(owner=user) for _ in range(200))
    fields = " ".join(f"a{number}: state" for number in range(60))
    query = f"subscription {{ items(first: 200) {{ id {fields} }} }}"
    payload = {"type": "subscribe", "id": "1", "payload": {"query": query}}
    before = resident_bytes(clean)
    with tcp(clean, receive_buffer=4096) as slow, tcp(clean) as quick:
        if kind == "WebSocket":
            start = frame(json.dumps(payload).encode())
            await asyncio.to_thread(open_websocket, slow, clean, *NEW, start)
        else:
            slow.sendall(events(query))
        await asyncio.to_thread(open_websocket, quick, clean, *NEW, SUBSCRIBE)
        await asyncio.to_thread(read_until, quick, b'"next"')
        await metrics_become(clean, subscribers=2)
        # Bigger than what the kernel buffers, then new results until the slow one is gone.
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(metrics, clean))["subscribers"] == 2:
                await Item.objects.acreate(owner=user)
                await asyncio.to_thread(read_until, quick, b'"next"')
        assert resident_bytes(clean) - before < 2 * MAX_GROWTH_BYTES
        assert "closed with 1008: 'Too slow" in clean.log


async def test_slow_reader_of_little_stays(clean: Server) -> None:
    with tcp(clean) as connection:
        await asyncio.to_thread(open_websocket, connection, clean, *NEW, SUBSCRIBE)
        await metrics_become(clean, subscribers=1)
        await asyncio.sleep(2.5)  # the whole patience, twice
        assert metrics(clean)["subscribers"] == 1
        connection.sendall(frame(b'{"type":"ping"}'))
        await asyncio.to_thread(read_until, connection, b'{"type":"pong"}')


async def test_missing_pong_closes(start_server: Any) -> None:
    server = start_server(
        DEBUG="true", OPEN_ACCESS="true", GRAPHQL_PING_SECONDS="0.1", GRAPHQL_PONG_SECONDS="0.5"
    )

    async def rest(subprotocol: str) -> bytes:
        with tcp(server) as connection:
            await asyncio.to_thread(open_websocket, connection, server, subprotocol)
            if subprotocol == "graphql-ws":  # in which the client has nothing to answer
                await asyncio.to_thread(read_until, connection, b'{"type":"ka"}')
                await asyncio.to_thread(read_until, connection, b'{"type":"ka"}')
                await asyncio.to_thread(read_until, connection, b'{"type":"ka"}')
                return b""
            return await asyncio.to_thread(read_until, connection, b"No pong came in time")

    silent, _ = await asyncio.gather(rest("graphql-transport-ws"), rest("graphql-ws"))
    assert b'{"type":"ping"}' in silent
    assert close_code(silent) == 1008


async def test_one_connection_too_many_is_503(start_server: Any) -> None:
    server = start_server(
        DEBUG="true", OPEN_ACCESS="true", METRICS="true", GRAPHQL_MAX_CONNECTIONS="2"
    )
    with tcp(server) as first, tcp(server) as second, tcp(server) as third:
        await asyncio.to_thread(open_websocket, first, server)
        second.sendall(events("subscription { item { id } }"))
        await metrics_become(server, connections=2)
        third.sendall(handshake(server))
        answer = await asyncio.to_thread(read_to_end, third)
        assert answer.startswith(b"HTTP/1.1 503 ")
        with tcp(server) as fourth:
            fourth.sendall(events("subscription { item { id } }"))
            await asyncio.to_thread(read_until, fourth, b"HTTP/1.1 503 ")
        reset(second)
        await metrics_become(server, connections=1)
        with tcp(server) as fifth:
            await asyncio.to_thread(open_websocket, fifth, server)
