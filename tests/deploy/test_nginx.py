"""nginx as it ships, before uvicorn: what it keeps away, and what it lets pass."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import websockets
from django.contrib.auth.models import User

from tests.clients import Socket
from tests.conftest import StartServer
from tests.items.models import Item
from tests.nginx import NAME, Nginx, proxy
from tests.protocols.raw import metrics_become, read_to_end, read_until
from tests.server import Server

pytestmark = pytest.mark.once

StartNginx = Callable[..., Nginx]

PATIENCE_SECONDS = 20
MEGABYTES_64 = 64 << 20
CONNECTIONS = 20
SIGN_INS = 6
"""That an address may try at once."""
NO_NEW_TRIES = {"rate=10r/m": "rate=1r/m"}
"""As long as the test takes, however slow the machine."""
IMPATIENT = {
    "client_header_timeout 10s": "client_header_timeout 2s",
    "client_body_timeout 10s": "client_body_timeout 2s",
    "send_timeout 30s": "send_timeout 1s",
    "keepalive_timeout 15s": "keepalive_timeout 1s",
    "lingering_time 5s": "lingering_time 1s",
    "lingering_timeout 2s": "lingering_timeout 1s",
}
HEAD = f"GET /graphql/?query={{__typename}} HTTP/1.1\r\nHost: {NAME}\r\n".encode()
POST = f"POST /graphql/ HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000\r\n\r\n".encode()
PING = "/graphql/?query={__typename}"
PONG = b'{"data":{"__typename":"Query"}}'
SILENT = "subscription { silent }"
ITEM = "subscription { item { state } }"
ENDLESS = {
    "event stream": (b"", b"200 OK\r\nX-Accel-Buffering: no"),
    "WebSocket": (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket",
    ),
}
"""What a client asks for, and how an answer begins that goes on and on."""


@pytest.fixture
def start_nginx(nginx: str, tmp_path: Path) -> Iterator[StartNginx]:
    """Start nginx before a port, with texts of its configuration changed."""
    with ExitStack() as running:

        def start(port: int, changes: dict[str, str] | None = None) -> Nginx:
            return running.enter_context(proxy(nginx, tmp_path, [port], changes or {}))

        yield start


@pytest.fixture
def upstream() -> Iterator[socket.socket]:
    """A port in uvicorn's place, which tells whether anything has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def impatient(start_nginx: StartNginx, upstream: socket.socket) -> Nginx:
    """Nginx that waits a second or two for everything."""
    return start_nginx(upstream.getsockname()[1], IMPATIENT)


@pytest.fixture
def server(share_server: StartServer, transactional_db: None) -> Server:
    """A server for people who come by HTTPS."""
    return share_server(
        Server,
        DEBUG="true",
        OPEN_ACCESS="true",
        HTTPS="true",
        METRICS="true",
        ALLOWED_HOSTS=f"{NAME},127.0.0.1",
        GRAPHQL_PING_SECONDS="0.5",
    )


@pytest.fixture
def site(start_nginx: StartNginx, server: Server) -> Nginx:
    """The server behind nginx as it ships."""
    return start_nginx(server.port)


def is_untouched(upstream: socket.socket) -> bool:
    """Whether nobody has connected."""
    try:
        upstream.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def drip(connection: socket.socket) -> bytes:
    """Send a byte now and then until the connection is closed: what came before that."""
    connection.settimeout(0.2)
    received = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with suppress(ConnectionError, ssl.SSLEOFError):
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                chunk = connection.recv(65536)
                if not chunk:
                    return received
                received += chunk
                continue
            connection.sendall(b"X")
        pytest.fail("Nobody closed the connection.")
    return received


def push(connection: socket.socket, begin: bytes, piece: bytes, total_bytes: int) -> bytes:
    """Send that much as far as the other side lets us: its answer, after which it has closed."""
    with suppress(ConnectionError, ssl.SSLError):
        connection.sendall(begin)
        for _ in range(total_bytes // len(piece)):
            connection.sendall(piece)
    with suppress(ssl.SSLError):
        return read_to_end(connection)
    return b""


def ask(
    nginx: Nginx,
    path: str,
    source: str = "127.0.0.1",
    *,
    method: str = "GET",
    body: object = None,
    **headers: str,
) -> tuple[int, bytes]:
    """The status of a request of its own connection, and the answer's body."""
    with nginx.connect_by_tls(source) as connection:
        answer = request(connection, path, method, body, **headers)
        return answer.status, answer.read()


def request(
    connection: socket.socket, path: str, method: str = "GET", body: object = None, **headers: str
) -> HTTPResponse:
    """Send a request: the answer, whose body has not been read."""
    client = HTTPConnection(NAME)
    client.sock = connection
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers["Content-Type"] = "application/json"
    client.request(method, path, json.dumps(body) if body is not None else None, headers)
    return client.getresponse()


@contextmanager
def stream(nginx: Nginx, query: str) -> Iterator[HTTPResponse]:
    """An event stream on a connection of its own."""
    body = {"query": query}
    with nginx.connect_by_tls() as connection:
        answer = request(connection, "/graphql/", "POST", body, Accept="text/event-stream")
        with answer:
            assert answer.status == 200
            yield answer


def next_event(answer: HTTPResponse) -> object:
    """The data of the next event of a stream."""
    while line := answer.readline():
        if line.startswith(b"data:"):
            return json.loads(line.removeprefix(b"data:"))["data"]
    raise EOFError


def subscriber(nginx: Nginx, source: str = "127.0.0.1", **headers: str) -> websockets.connect:
    """Connect by WebSocket."""
    return websockets.connect(
        f"wss://{NAME}/graphql/",
        host="127.0.0.1",
        port=nginx.tls_port,
        local_addr=(source, 0),
        ssl=nginx.trusted,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
        proxy=None,
    )


# Clients that keep the server waiting -------------------------------------------------------------


def test_silent_clients_are_closed(impatient: Nginx, upstream: socket.socket) -> None:
    with (
        impatient.connect() as before_tls,
        impatient.connect() as within_tls,
        impatient.connect_by_tls() as after_tls,
        impatient.connect_in_clear() as in_clear,
        impatient.connect_by_tls() as within_header,
        impatient.connect_by_tls() as within_body,
    ):
        within_tls.sendall(b"\x16\x03\x01\x02\x00\x01")
        within_header.sendall(HEAD)
        within_body.sendall(POST + b"{")
        for connection in (before_tls, within_tls, after_tls, in_clear, within_header, within_body):
            connection.settimeout(PATIENCE_SECONDS)
            assert read_to_end(connection) == b""
    assert is_untouched(upstream)


def test_header_that_drips_is_given_up(impatient: Nginx, upstream: socket.socket) -> None:
    with (
        impatient.connect_by_tls() as by_tls,
        impatient.connect_in_clear() as in_clear,
        ThreadPoolExecutor() as threads,
    ):
        by_tls.sendall(HEAD)
        assert list(threads.map(drip, (by_tls, in_clear))) == [b"", b""]
    assert is_untouched(upstream)


def test_body_that_drips_does_not_reach_the_server(
    impatient: Nginx, upstream: socket.socket
) -> None:
    with impatient.connect_by_tls() as connection:
        connection.sendall(POST)
        for _ in range(10):
            connection.sendall(b"x")
            time.sleep(0.05)
        assert is_untouched(upstream)
        connection.sendall(b"x" * 990)
        upstream.settimeout(PATIENCE_SECONDS)
        with upstream.accept()[0] as behind:
            behind.settimeout(PATIENCE_SECONDS)
            assert read_until(behind, b"x" * 1000).startswith(b"POST /graphql/ HTTP/1.1\r\n")


def test_idle_connection_is_closed(start_nginx: StartNginx, server: Server) -> None:
    nginx = start_nginx(server.port, IMPATIENT)
    with nginx.connect_by_tls() as connection:
        assert request(connection, PING).read() == PONG
        assert read_to_end(connection) == b""


@pytest.mark.parametrize("kind", ENDLESS)
def test_client_that_does_not_read_is_cut_off(
    kind: str, impatient: Nginx, upstream: socket.socket
) -> None:
    asks, begins = ENDLESS[kind]
    with impatient.connect_by_tls() as client:
        client.sendall(HEAD + asks + b"\r\n")
        upstream.settimeout(PATIENCE_SECONDS)
        with upstream.accept()[0] as behind:
            behind.settimeout(PATIENCE_SECONDS)
            read_until(behind, b"\r\n\r\n")
            behind.sendall(b"HTTP/1.1 " + begins + b"\r\n\r\n")
            with pytest.raises(ConnectionError):
                behind.sendall(b"x" * MEGABYTES_64)


# Clients that send too much -----------------------------------------------------------------------

TOO_MUCH = {
    "one long header": (HEAD + b"X-Long: ", b"x" * 65536, (400, 431)),
    "many headers": (HEAD, b"X-Many: x\r\n" * 6000, (400, 431)),
    "long address": (b"GET /graphql/?query=", b"x" * 65536, (414,)),
    "long body of GraphQL": (
        POST.replace(b"1000", b"300000"),  # which a form may have
        b"x" * 1000,
        (413,),
    ),
    "long form": (
        POST.replace(b"/graphql/", b"/admin/").replace(b"1000", b"%d" % MEGABYTES_64),
        b"x" * 65536,
        (413,),
    ),
    "long body in chunks": (
        POST.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked"),
        b"10000\r\n" + b"x" * 65536 + b"\r\n",
        (413,),
    ),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_is_refused(name: str, impatient: Nginx, upstream: socket.socket) -> None:
    begin, piece, statuses = TOO_MUCH[name]
    with impatient.connect_by_tls() as connection:
        answer = push(connection, begin, piece, MEGABYTES_64)
    # Whoever sends on after the answer may get a reset instead of it.
    if answer:
        assert int(answer.split()[1]) in statuses
    wait_for(lambda: any(f'" {status} ' in impatient.requests for status in statuses))
    assert is_untouched(upstream)


# Clients that are too many ------------------------------------------------------------------------


async def test_one_address_cannot_take_all_connections(
    start_nginx: StartNginx, server: Server
) -> None:
    fewer = {"limit_conn connections 100": f"limit_conn connections {CONNECTIONS}"}
    site = start_nginx(server.port, fewer)
    with ExitStack() as many:
        for _ in range(CONNECTIONS):
            many.enter_context(stream(site, SILENT))
        assert ask(site, PING)[0] == 429
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await subscriber(site)
        assert refusal.value.response.status_code == 429
        assert ask(site, PING, "127.0.0.2")[0] == 200
    await metrics_become(server, connections=0)
    assert ask(site, PING)[0] == 200


def test_one_address_cannot_try_passwords_for_long(start_nginx: StartNginx, server: Server) -> None:
    site = start_nginx(server.port, NO_NEW_TRIES)
    for path in ("/login/", "/admin/login/", "//login/", "/%6cogin/"):
        assert ask(site, path)[0] in {200, 404}  # looking at the form is no try
    for path in ["/login/", "/admin/login/"] * (SIGN_INS // 2):
        assert ask(site, path, method="POST")[0] == 403  # by Django, without its cookie
    for path in ("/login/", "/admin/login/", "//login/", "/%6cogin/", "/login/?next=/"):
        assert ask(site, path, method="POST")[0] == 429
    assert ask(site, "/login/", method="POST", X_Forwarded_For="127.0.0.3")[0] == 429
    assert ask(site, "/login/", "127.0.0.2", method="POST")[0] == 403
    assert ask(site, PING)[0] == 200


def test_addresses_of_one_ipv6_network_count_as_one(
    start_nginx: StartNginx, server: Server
) -> None:
    # As if there were another proxy before it.
    pretend = "set_real_ip_from 127.0.0.1; real_ip_header X-Pretend;"
    nginx = start_nginx(
        server.port, NO_NEW_TRIES | {"server_tokens off;": f"server_tokens off; {pretend}"}
    )

    def sign_in(address: str) -> int:
        return ask(nginx, "/login/", method="POST", X_Pretend=address)[0]

    for number in range(SIGN_INS):
        assert sign_in(f"2001:db8:a:a:{number}::1") == 403
    assert sign_in("2001:db8:a:a:ffff:ffff:ffff:ffff") == 429
    assert sign_in("2001:db8:a:b::1") == 403
    for _ in range(SIGN_INS):
        assert sign_in("10.0.0.1") == 403
    assert sign_in("10.0.0.1") == 429
    assert sign_in("10.0.0.2") == 403


def test_one_address_cannot_ask_without_end(start_nginx: StartNginx, server: Server) -> None:
    nginx = start_nginx(server.port, {"rate=50r/s": "rate=1r/s", "burst=200": "burst=20"})
    with nginx.connect_by_tls() as connection:
        statuses = []
        for _ in range(60):
            answer = request(connection, PING)
            answer.read()
            statuses.append(answer.status)
    assert statuses[:21] == [200] * 21
    assert 429 in statuses
    assert ask(nginx, PING, "127.0.0.2")[0] == 200


# Who is who ---------------------------------------------------------------------------------------


async def test_client_cannot_forge_its_address(site: Nginx, server: Server) -> None:
    path = "/graphql/?query={__typename}"
    forged = {
        "X_Forwarded_For": "192.0.2.1",
        "X_Real_IP": "192.0.2.2",
        "Forwarded": "for=192.0.2.3",
    }
    assert ask(site, path, "127.0.0.2", **forged)[0] == 200
    async with subscriber(site, "127.0.0.3", **forged):
        pass
    # What is asked for is not logged.
    server.wait_for_log('127.0.0.2:0 - "GET /graphql/?… HTTP/1.1" 200')
    server.wait_for_log('127.0.0.3:0 - "WebSocket /graphql/" [accepted]')
    assert "192.0.2." not in server.log


async def test_scheme_and_host_reach_the_server(site: Nginx) -> None:
    assert ask(site, PING)[1] == PONG
    async with subscriber(site, Origin=f"https://{NAME}"):
        pass
    with pytest.raises(websockets.InvalidStatus):
        await subscriber(site, Origin="https://evil.example")
    with site.connect_in_clear() as connection:
        answer = request(connection, "/admin/?a=b")
        answer.close()
        assert answer.status == 301
        assert answer.headers["Location"] == f"https://{NAME}/admin/?a=b"
    forged = ask(site, PING, X_Forwarded_Proto="http")
    assert forged[0] == 200


def test_other_names_get_nothing(site: Nginx) -> None:
    with pytest.raises(ssl.SSLError):
        site.connect_by_tls(name="evil.example")
    evil = HEAD.replace(NAME.encode(), b"evil.example") + b"\r\n"
    with site.connect_by_tls() as connection:
        connection.sendall(evil)
        assert b"200 OK" not in read_to_end(connection)
    with site.connect_in_clear() as connection:
        connection.sendall(evil)
        assert read_to_end(connection) == b""


def test_what_is_not_for_the_public_is_not_there(site: Nginx) -> None:
    for path in (
        "/metrics",
        "/metrics/",
        "/metrics?a=b",
        "//metrics",
        "/%6detrics",
        "/metrics%0a",
        "/static/../metrics",
        "/static/%2e%2e/metrics",
        "/health/live",
        "/health/ready",
        "/health//ready",
        "/%68ealth/ready",
    ):
        status, body = ask(site, path)
        assert status == 404, path
        assert b"nginx" in body, path  # which answered by itself


def test_log_has_no_query_strings(site: Nginx) -> None:
    ask(site, "/graphql/?query={__typename}&secret", Referer="https://example.org/secret")
    wait_for(lambda: "/graphql/" in site.requests)
    assert "secret" not in site.requests


# What must pass -----------------------------------------------------------------------------------


async def test_subscriptions_live_through_it(start_nginx: StartNginx, server: Server) -> None:
    item = await Item.objects.acreate(owner=await User.objects.acreate(username="v"))
    # All times but those of uvicorn's own pings are shorter than the silence.
    changes = IMPATIENT | {"proxy_read_timeout 90s": "proxy_read_timeout 4s"}
    nginx = start_nginx(server.port, changes)
    with stream(nginx, ITEM) as events:
        assert await asyncio.to_thread(next_event, events) == {"item": {"state": "OPEN"}}
        async with subscriber(nginx) as by_websocket:
            client = Socket(by_websocket)
            await client.send(type="connection_init")
            assert (await client.receive())["type"] == "connection_ack"
            await client.subscribe(ITEM)
            assert await client.next() == {"item": {"state": "OPEN"}}
            for state, silence_seconds in (("DONE", 0), ("OPEN", 5)):
                with pytest.raises(TimeoutError):  # pings are answered meanwhile
                    await client.next(silence_seconds)
                await Item.objects.filter(pk=item.pk).aupdate(state=state)
                assert await client.next() == {"item": {"state": state}}
                assert await asyncio.to_thread(next_event, events) == {"item": {"state": state}}
    await metrics_become(server, connections=0)


async def test_body_as_large_as_the_server_takes_passes(site: Nginx) -> None:
    body = {"query": "{ __typename }", "variables": {"unused": ""}}
    body["variables"] = {"unused": "x" * (256 * 1024 - len(json.dumps(body)))}
    assert ask(site, "/graphql/", method="POST", body=body)[0] == 200
