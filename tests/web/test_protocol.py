"""Connections that a client drags out, overfills or hoards are closed, and no others."""

import asyncio
import os
import re
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app import __version__
from tests.clients import connect, get
from tests.conftest import StartServer
from tests.protocols.raw import (
    PATIENCE_SECONDS,
    handshake,
    open_websocket,
    read_to_end,
    read_until,
    tcp,
)
from tests.server import ROOT, Server

pytestmark = pytest.mark.once

OPEN = {"DEBUG": "true", "OPEN_ACCESS": "true"}
SHORT = {"HTTP_HEAD_SECONDS": "0.5", "HTTP_BODY_SECONDS": "0.5", "HTTP_SEND_SECONDS": "0.5"}
GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIVE = f'{{"status":"live","version":"{__version__}"}}'.encode()
QUERY = b'{"query":"{ items { id } }"}'
POST = (
    b"POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
CHUNKED = (
    b"POST /graphql/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1c\r\n" + QUERY + b"\r\n"
)
STREAM = (POST % 40).replace(
    b"\r\n", b"\r\nAccept: text/event-stream\r\n", 1
) + b'{"query":"subscription { item { id } }"}'
# What the server reads before it closes, and what the kernel buffers on both sides.
MOST_ACCEPTED_BYTES = 16 * 1024 * 1024


class Patient(Server):
    """A server that gives clients ten seconds when it stops, and idle ones one."""

    arguments = ("--timeout-graceful-shutdown", "10", "--timeout-keep-alive", "1")


@pytest.fixture
def hasty(share_server: StartServer, transactional_db: None) -> Server:
    """A server that waits for half a second."""
    return share_server(Server, **OPEN, **SHORT)


def drip(connection: socket.socket, sent: bytes) -> bytes:
    """Send a byte at a time until the server answers or closes: all that it sent."""
    connection.settimeout(0.1)
    for byte in sent:
        with suppress(TimeoutError):
            try:
                connection.send(bytes([byte]))
                received = connection.recv(65536)
            except ConnectionError:
                return b""
            connection.settimeout(PATIENCE_SECONDS)
            return received + read_to_end(connection)
    raise AssertionError("The server took it all.")


def flood(connection: socket.socket, start: bytes, piece: bytes, size: int) -> tuple[int, bytes]:
    """Send `start` and then pieces, `size` bytes: how many were accepted, and the answer."""
    accepted = 0
    try:
        connection.sendall(start)
        while accepted < size:
            connection.sendall(piece)
            accepted += len(piece)
    except ConnectionError:
        pass
    return accepted, read_to_end(connection)


def wait_for_deadlines(server: Server) -> None:
    """Wait until the server has closed those who came now, twice."""
    for _ in range(2):
        with tcp(server) as connection:
            assert read_to_end(connection) == b""


def test_silent_connection_is_closed(hasty: Server) -> None:
    with tcp(hasty) as connection:
        assert read_to_end(connection) == b""


BEFORE: dict[str, bytes] = {"first": b"", "second": GET}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_slow_head_is_closed(before: bytes, hasty: Server) -> None:
    with tcp(hasty) as connection:
        if before:
            connection.sendall(before)
            read_until(connection, LIVE)
        assert drip(connection, b"GET / HTTP/1.1\r\nX: " + b"x" * 200).startswith(b"HTTP/1.1 408 ")


def test_line_between_requests_begins_a_head(hasty: Server) -> None:
    with tcp(hasty) as connection:
        connection.sendall(GET)
        read_until(connection, LIVE)
        connection.sendall(b"\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_slow_body_is_closed(is_chunked: bool, hasty: Server) -> None:
    with tcp(hasty) as connection:
        connection.sendall(CHUNKED if is_chunked else POST % 1000)
        piece = b"1\r\n \r\n" if is_chunked else b" "
        assert drip(connection, piece * 200).startswith(b"HTTP/1.1 408 ")
    assert "Traceback" not in hasty.log


def test_rest_of_a_body_that_was_answered_is_waited_for(hasty: Server) -> None:
    with tcp(hasty) as connection:
        connection.sendall(GET.replace(b"\r\n", b"\r\nContent-Length: 1000\r\n", 1))
        read_until(connection, LIVE)
        assert drip(connection, b" " * 200) == b""
    assert "Traceback" not in hasty.log


async def test_steady_body_is_read(hasty: Server) -> None:
    body = QUERY + b" " * 200_000
    with tcp(hasty) as connection:
        connection.sendall(POST % len(body))
        for start in range(0, len(body), 16_000):
            await asyncio.sleep(0.1)
            connection.sendall(body[start : start + 16_000])
        answer = await asyncio.to_thread(read_until, connection, b"}")
    assert answer.startswith(b"HTTP/1.1 200 ")


COOKIE = b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: "
LARGE: dict[str, tuple[bytes, bytes]] = {
    "URL": (b"GET /", b"x" * 65536),
    "header": (COOKIE, b"x" * 65536),
    "cookie in small pieces": (COOKIE, b"x" * 1000),
    "name": (b"GET / HTTP/1.1\r\n", b"x" * 65536),
    "headers": (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 1000),
    "empty lines": (b"", b"\r\n" * 1000),
    "trailer": (CHUNKED + b"0\r\nX: ", b"x" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 1000),
    "extension of a chunk": (CHUNKED + b"1;x=", b"x" * 65536),
    "handshake": (b"GET /graphql/ HTTP/1.1\r\nUpgrade: websocket\r\nX: ", b"x" * 65536),
    "head behind a request": (GET + b"GET / HTTP/1.1\r\nX: ", b"x" * 65536),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_head_is_refused_before_it_is_read(name: str, server: Server) -> None:
    with tcp(server) as connection:
        accepted, answer = flood(connection, *LARGE[name], 64 * 1024 * 1024)
    assert accepted < MOST_ACCEPTED_BYTES
    if not name.endswith("behind a request"):
        assert answer.startswith(b"HTTP/1.1 431 ")
    assert "Traceback" not in server.log


def padded(request: bytes, size: int) -> bytes:
    """The request with a header so long that its head has about `size` bytes."""
    return request.replace(b"\r\n", b"\r\nX: " + b"x" * (size - len(request)) + b"\r\n", 1)


def test_size_of_a_whole_head_counts(server: Server) -> None:
    for request, status in (
        (padded(GET, 32_000), b"200"),
        (padded(GET, 33_000), b"431"),
        (GET.replace(b"\r\n", b"\r\n" + b"a: b\r\n" * 150, 1), b"200"),
        (GET.replace(b"\r\n", b"\r\n" + b"a: b\r\n" * 250, 1), b"431"),
        (padded(handshake(server), 8_000), b"101"),
        (padded(handshake(server), 9_000), b"431"),  # more than the library websockets reads
        (padded(handshake(server), 33_000), b"431"),
    ):
        with tcp(server) as connection:
            connection.sendall(request)
            assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 " + status)


def test_handshake_behind_an_event_stream_is_refused(server: Server) -> None:
    with tcp(server) as connection:
        connection.sendall(STREAM)
        read_until(connection, b"event: next")
        connection.sendall(handshake(server))
        read_to_end(connection)


def test_connection_may_be_used_again_and_ahead(hasty: Server) -> None:
    with tcp(hasty) as connection:
        for _ in range(3):
            connection.sendall(GET)
            read_until(connection, LIVE)
        connection.sendall(padded(GET, 20_000) * 3 + GET[:10])
        received = b""
        while received.count(LIVE) < 3:
            received += connection.recv(65536)
        connection.sendall(GET[10:])
        read_until(connection, LIVE)


READY = GET.replace(b"live", b"ready")
FORWARDED = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")


def test_request_on_its_way_when_the_server_stops_is_answered(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    """A proxy would not send a POST again that it has sent, and tell its client of a failure."""
    with (
        Server(tmp_path / "log", database_url, **OPEN) as server,
        tcp(server) as used,
        tcp(server) as direct,
        tcp(server) as other,
    ):
        for each, request in ((used, FORWARDED), (direct, GET), (other, FORWARDED)):
            each.sendall(request)
            read_until(each, LIVE)
        os.kill(server.pid, signal.SIGTERM)
        server.wait_for_log("Waiting for connections to close")
        used.sendall(POST % len(QUERY) + QUERY)
        answer = read_to_end(used)
        assert answer.endswith(b'{"data":{"items":[]}}')
        assert b"connection: close\r\n" in answer
        # A browser sends again by itself, and who develops does not want to wait.
        assert read_to_end(direct) == b""
        other.sendall(READY)
        assert read_to_end(other).endswith(b'{"status":"the server stops"}')


def test_connections_that_nobody_uses_do_not_keep_a_server_from_stopping(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    with Patient(tmp_path / "log", database_url, **OPEN) as server:
        with tcp(server) as used, tcp(server) as fresh:
            used.sendall(GET)
            read_until(used, LIVE)
            os.kill(server.pid, signal.SIGTERM)
            assert read_to_end(used) == read_to_end(fresh) == b""
        assert server.stop() in {0, -signal.SIGTERM}
    assert "timeout graceful shutdown exceeded" not in server.log


def test_requests_sent_far_ahead_are_refused(hasty: Server) -> None:
    with tcp(hasty) as connection:
        connection.sendall(GET * 1000)
        received = read_to_end(connection)
    assert received.count(LIVE) <= 10
    assert hasty.log.count("Invalid HTTP request received.") <= 2
    with tcp(hasty) as connection:
        connection.sendall(GET * 8)
        read_until(connection, b"".join([LIVE]))


def test_any_answer_that_nobody_reads_is_cut_off(hasty: Server) -> None:
    """Of whatever application: here a static file."""
    path = b"GET /static/admin/js/vendor/xregexp/xregexp.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        unread = [stack.enter_context(tcp(hasty, receive_buffer=4096)) for _ in range(3)]
        for connection in unread:
            for _ in range(200):  # more than the kernel takes
                try:
                    connection.settimeout(1)
                    connection.sendall(path)
                except OSError:
                    break
        for connection in unread:
            connection.settimeout(PATIENCE_SECONDS)
            received = read_to_end(connection)
            assert not received.endswith(b"0\r\n\r\n")
        with tcp(hasty) as connection:
            connection.sendall(path.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost"))
            assert b"xregexp" in read_to_end(connection).lower()


@pytest.mark.parametrize("path", [b"/graphql/", b"/admin/login/"])
def test_large_body_is_the_applications_to_refuse(path: bytes, hasty: Server) -> None:
    head = (POST % 3_000_000).replace(b"/graphql/", path)
    with tcp(hasty) as connection:
        _, answer = flood(connection, head, b" " * 50_000, 3_000_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_websocket_outlives_the_deadlines(hasty: Server) -> None:
    async with connect(hasty.websocket) as client:
        await asyncio.to_thread(wait_for_deadlines, hasty)
        await client.subscribe("subscription { item { id } }")
        await client.next()


async def test_event_stream_outlives_the_deadlines(hasty: Server) -> None:
    with tcp(hasty) as connection:
        connection.sendall(STREAM)
        await asyncio.to_thread(read_until, connection, b"event: next")
        await asyncio.to_thread(wait_for_deadlines, hasty)
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(65536)


class Late(Server):
    """A server whose application reads bodies late."""

    application = "tests.web.late:application"


async def test_body_waits_for_the_application(server_folder: Path) -> None:
    body = b"x" * 2_000_000
    head = POST % len(body)

    def send_at_once(server: Server) -> bytes:
        with tcp(server) as connection:
            connection.sendall(head + body)
            return read_until(connection, b"came")

    def send_when_asked(server: Server) -> bytes:
        with tcp(server) as connection:
            connection.sendall(head.replace(b"\r\n", b"\r\nExpect: 100-continue\r\n", 1))
            read_until(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(body)
            return read_until(connection, b"came")

    with Late(server_folder / "late", "", **OPEN, **SHORT) as server:
        for answer in await asyncio.gather(
            asyncio.to_thread(send_at_once, server), asyncio.to_thread(send_when_asked, server)
        ):
            assert answer.endswith(b"2000000 bytes came")


@pytest.fixture
def limited(start_server: StartServer) -> Server:
    """A server that lets an address have three connections."""
    return start_server(**OPEN, HTTP_MAX_CONNECTIONS_PER_ADDRESS="3")


def connect_from(address: str, server: Server) -> socket.socket:
    """A connection of another client."""
    return socket.create_connection(
        ("127.0.0.1", server.port), PATIENCE_SECONDS, source_address=(address, 0)
    )


def is_refused(connection: socket.socket) -> bool:
    """Whether this is one connection too many."""
    with suppress(ConnectionError):
        connection.sendall(GET)
    return read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 503 ")


def test_connections_of_an_address_are_counted_until_they_end(limited: Server) -> None:
    with ExitStack() as stack:

        def connect(address: str) -> socket.socket:
            return stack.enter_context(connect_from(address, limited))

        def become_welcome(address: str) -> None:
            while is_refused(one := connect(address)):
                one.close()
            one.close()

        sockets = [connect("127.0.0.2") for _ in range(3)]
        for each in sockets[:2]:
            open_websocket(each, limited)
        assert not is_refused(sockets[2])
        for _ in range(5):
            assert is_refused(connect("127.0.0.2"))
        # Neither another client nor a proxy is concerned.
        assert not is_refused(connect("127.0.0.3"))
        assert not any(is_refused(connect("127.0.0.1")) for _ in range(10))
        for each in sockets:
            each.close()
            become_welcome("127.0.0.2")
        sockets = [connect("127.0.0.2") for _ in range(3)]
        for each in sockets:
            open_websocket(each, limited)
        assert is_refused(connect("127.0.0.2"))
    [line] = re.findall("Connections refused: .*", limited.log)
    assert line.startswith("Connections refused: 1. The newest, of 127.0.0.2: it has 3, ")


class Poor(Server):
    """A server that may open few files."""

    def start(self) -> None:
        """Start it with a limit that is this process's for the moment."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        try:
            super().start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def poor(database_url: str, transactional_db: None, server_folder: Path) -> Iterator[Server]:
    """Such a server."""
    with Poor(server_folder / "poor", database_url, **OPEN, **SHORT) as server:
        yield server


async def test_silent_connections_lock_nobody_out_for_good(poor: Server) -> None:
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(tcp(poor))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(OSError, AssertionError), tcp(poor) as connection:
                    if not await asyncio.to_thread(is_refused, connection):
                        break
        assert (await get(poor, "/health/ready")).status_code == 200
    assert poor.log.count("Connections refused: ") == 1
    assert "Traceback" not in poor.log
    assert "ERROR" not in poor.log


class Plain(Server):
    """A server that was started without any option."""

    deployment = ()


def test_missing_options_are_told_in_one_line(
    transactional_db: None, database_url: str, server_folder: Path
) -> None:
    with Plain(server_folder / "plain", database_url, **OPEN) as server:
        [line] = [line for line in server.log.splitlines() if "WARNING" in line]
    assert line.endswith(
        "Start uvicorn with --http app.web.protocol:LimitedHTTP "
        "--ws-per-message-deflate false --ws-max-size 262144"
    )


def test_server_as_in_the_readme_is_told_nothing(server: Server) -> None:
    readme = (ROOT / "README.md").read_text()
    for option in server.deployment:
        assert option.replace("=", " ") in readme
    assert "Start uvicorn with" not in server.log
