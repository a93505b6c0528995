"""Routes, health, static files, start and stop of the server as it is deployed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from orders.models import Order
from tests.clients import connect, post, written_by_another
from tests.conftest import StartServer
from tests.protocols.raw import read_to_end, tcp
from tests.server import ROOT, Server, free_port


async def get(server: Server, path: str, **headers: str) -> httpx.Response:
    """Get a path of the server."""
    async with httpx.AsyncClient(headers=headers) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}")


async def test_endpoint_answers_with_and_without_the_slash(server: Server) -> None:
    for address in (server.http, server.http.rstrip("/")):
        assert await post(address, "{ __typename }") == {"data": {"__typename": "Query"}}
    async with connect(server.websocket.rstrip("/")) as client:
        await client.subscribe("{ __typename }")
        assert await client.next() == {"__typename": "Query"}


async def test_unknown_path_below_the_endpoint_is_not_graphql(server: Server) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{server.http}more", json={"query": "{ __typename }"})
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/", "/admin/", "/graphql/more", "/nowhere"])
async def test_unknown_websocket_path_is_refused(server: Server, path: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await websockets.connect(f"ws://127.0.0.1:{server.port}{path}")
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("debug", [True, False])
async def test_admin_comes_with_its_styles(
    server: Server, guarded_server: Server, debug: bool
) -> None:
    chosen = server if debug else guarded_server
    page = await get(chosen, "/admin/login/")
    assert page.status_code == 200
    assert "/static/admin/css/base.css" in page.text
    style = await get(chosen, "/static/admin/css/base.css")
    assert style.status_code == 200
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    again = await get(
        chosen, "/static/admin/css/base.css", **{"If-None-Match": style.headers["etag"]}
    )
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["/static/", "/static/nothing.css", "/static/../settings.py", "/static/%2e%2e/asgi.py"]
)
async def test_only_static_files_are_served(server: Server, path: str) -> None:
    assert (await get(server, path)).status_code == 404


async def test_health(server: Server) -> None:
    assert (await get(server, "/health/live")).json() == {"status": "live"}
    assert (await get(server, "/health/ready")).json() == {"status": "ready"}


async def test_pool_in_use_is_not_ready(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true", DATABASE_POOL_SIZE="1")
    order = await Order.objects.acreate(user=await User.objects.acreate(username="v"))
    query = f"mutation {{ setOrderState(id: {order.pk}, state: PAID) {{ id }} }}"
    with written_by_another(Order.objects.all(), date="2026-11-22"):
        task = asyncio.create_task(post(server.http, query))
        while (answer := await get(server, "/health/ready")).status_code == 200:
            pass
        assert (answer.status_code, "its pool" in answer.text) == (503, True)
        assert (await get(server, "/health/live")).status_code == 200
    assert "errors" not in await task
    assert (await get(server, "/health/ready")).status_code == 200


async def test_without_its_lifespan_nothing_is_live_and_the_log_says_so(
    transactional_db: None, database_url: str, tmp_path: Path
) -> None:
    server = Unready(tmp_path / "log", database_url, DEBUG="true", OPEN_ACCESS="true")
    with server:
        assert (await get(server, "/health/ready")).status_code == 503
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(
                server.websocket, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
            )
        assert refusal.value.response.status_code == 503
        query = {"query": "subscription { getOrder { id } }"}
        async with httpx.AsyncClient(headers={"Accept": "text/event-stream"}) as client:
            answer = await client.post(server.http, json=query)
        assert answer.status_code == 503
        assert "lifespan off" in answer.text
    assert "refused: The server runs with its lifespan off" in server.log
    assert "ERROR" not in server.log


class Unready(Server):
    """A server that is started wrongly."""

    arguments = ("--lifespan", "off")
    ready_path = "/health/live"


async def test_graphql_refuses_a_foreign_host(server: Server) -> None:
    async with httpx.AsyncClient(headers={"Host": "evil.example"}) as client:
        answer = await client.post(server.http, json={"query": "{ __typename }"})
    assert answer.status_code == 400
    assert "ALLOWED_HOSTS" in answer.text


async def test_https_is_kept_to_by_every_part(start_server: StartServer) -> None:
    server = start_server(HTTPS="true", BOARD="true", PLAYGROUND="true")
    secure = {"X-Forwarded-Proto": "https"}
    host = f"127.0.0.1:{server.port}"
    for path in ("/", "/graphql/?query={__typename}", "/admin/", "/static/admin/css/base.css"):
        answer = await get(server, path)
        assert answer.status_code == 301
        assert answer.headers["location"].startswith(f"https://{host}/")
        answer = await get(server, path, **secure)
        assert answer.headers["strict-transport-security"] == "max-age=3600"
    assert (await get(server, "/health/live")).status_code == 200
    assert (await get(server, "/", Host="evil.example")).status_code == 403
    query = {"query": "{ __typename }"}
    async with httpx.AsyncClient() as client:
        assert (await client.post(server.http, json=query)).status_code == 403
        answer = await client.post(server.http, json=query, headers=secure)
        assert answer.json() == {"data": {"__typename": "Query"}}
    for headers in ({}, {"Origin": f"https://{host}"}, {**secure, "Origin": f"http://{host}"}):
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(server.websocket, additional_headers=headers)
        assert refusal.value.response.status_code == 403
    protocol = [websockets.Subprotocol("graphql-transport-ws")]
    headers = {**secure, "Origin": f"https://{host}"}
    async with websockets.connect(
        server.websocket, subprotocols=protocol, additional_headers=headers
    ) as connection:
        await connection.send('{"type":"connection_init"}')
        assert await connection.recv() == '{"type":"connection_ack"}'
    assert "ERROR" not in server.log


MOST = 2_621_440
TOO_LARGE = {
    "by its length": (f"Content-Length: {MOST + 1}", b""),
    "in chunks": ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (MOST + 1, b"x" * (MOST + 1))),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_large_body_does_not_reach_django(name: str, server: Server) -> None:
    header, body = TOO_LARGE[name]
    with tcp(server) as connection:
        head = f"POST /login/ HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
        await asyncio.to_thread(connection.sendall, head.encode() + body)
        received = await asyncio.to_thread(read_to_end, connection)
    assert received.startswith(b"HTTP/1.1 413 ")
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{server.port}/login/", content=b"x" * MOST)
    assert answer.status_code == 403  # Django's: there is no CSRF token.


async def test_allowed_origin_may_use_the_api(start_server: StartServer) -> None:
    """As in the article, whose origin ends with a slash."""
    server = start_server(CORS_ALLOWED_ORIGINS="https://first-origin.io/")
    preflight = {"Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "content-type"
    async with httpx.AsyncClient(headers={"Origin": "https://first-origin.io"}) as client:
        answer = await client.options(server.http, headers=preflight)
        assert answer.status_code == 200
        allowed = answer.headers["access-control-allow-origin"]
        assert allowed == "https://first-origin.io"
        answer = await client.post(server.http, json={"query": "{ __typename }"})
        assert answer.headers["access-control-allow-origin"] == "https://first-origin.io"
        assert answer.headers["access-control-allow-credentials"] == "true"
    async with httpx.AsyncClient(headers={"Origin": "https://second-origin.io"}) as client:
        answer = await client.options(server.http, headers=preflight)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


async def test_stops_at_once_with_subscribers_connected(start_server: StartServer) -> None:
    server = start_server(DEBUG="true", OPEN_ACCESS="true")
    async with connect(server.websocket) as client:
        await client.subscribe("subscription { getOrder { id } }")
        await client.next()
        code = await asyncio.to_thread(server.stop)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert code in (0, -signal.SIGTERM)
    assert "ERROR" not in server.log


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    """Import the server with this environment and nothing else."""
    inherited = {"DJANGO_SETTINGS_MODULE": "settings", "ENV_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, "-c", "import asgi"],
        cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_missing_secret_key_is_explained() -> None:
    failed = start(SECRET_KEY="")
    assert failed.returncode != 0
    assert "SECRET_KEY is not set. Off DEBUG it must be a long random string" in failed.stderr


def test_open_access_is_refused_off_debug() -> None:
    failed = start(SECRET_KEY="x", DEBUG="false", OPEN_ACCESS="true")
    assert failed.returncode != 0
    assert "Unset OPEN_ACCESS in production" in failed.stderr


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://localhost/live", "DATABASE_URL must begin with sqlite:// or postgres://"),
        ("live", "DATABASE_URL is no address of a database"),
        ("postgres://ada:se#cret@localhost/live", "special characters percent-encoded"),
    ],
)
def test_other_databases_are_refused(url: str, complaint: str) -> None:
    failed = start(SECRET_KEY="x", DATABASE_URL=url)
    assert failed.returncode != 0
    assert complaint in failed.stderr


@pytest.mark.parametrize("name", ["DATABASE_POOL_SIZE", "GRAPHQL_MAX_OPERATIONS"])
def test_limits_that_let_nothing_through_are_refused(name: str) -> None:
    failed = start(SECRET_KEY="x", **{name: "0"})
    assert failed.returncode != 0
    assert f"{name} must be greater than 0, but is 0." in failed.stderr


class Demo:
    """`manage.py rundemo` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "settings",
            "DEBUG": "true",
            "OPEN_ACCESS": "true",
            "DATABASE_URL": f"sqlite:///{folder / 'demo.sqlite3'}",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self) -> subprocess.Popen[str]:
        """Start the demo as the leader of a process group, as a shell does."""
        return self._run(sys.executable, "manage.py", "rundemo", "--port", str(self.port))

    def make(self) -> subprocess.Popen[str]:
        """The same by `make run`, where all that it needs counts as installed and built."""
        ready = ("-o", "pages", "-o", f"{sys.prefix}/bin/.installed")
        return self._run("make", "run", f"PORT={self.port}", f"VENV={sys.prefix}", *ready)

    def _run(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, text=True, process_group=0,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


@pytest.mark.only("sqlite")
async def test_demo_shows_life_and_keeps_what_it_has(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    counts = []
    for _ in range(2):
        process = demo.start()
        try:
            await asyncio.to_thread(_wait_for, demo.port)
            async with connect(f"ws://127.0.0.1:{demo.port}/graphql/") as client:
                await client.subscribe("subscription { getOrders(first: 200) { id state } }")
                first = (await client.next())["getOrders"]
                second = (await client.next(30))["getOrders"]  # somebody is at work
            assert first != second
            counts += [len(first), len(second)]
        finally:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = await asyncio.to_thread(process.communicate, timeout=15)
        assert process.returncode == 0, output
        assert f"http://127.0.0.1:{demo.port}/graphql/" in output
        assert "login demo, password demo" in output
        assert "Traceback" not in output
    assert counts[0] == 24
    assert counts == sorted(counts)


@pytest.mark.only("sqlite")
def test_make_run_ends_with_all_it_has_started(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the `make test` that runs this
        demo.environment.pop(name, None)
    demo.environment |= {"HTTPS": "true", "DEBUG": "false"}  # as a `.env` might have it
    process = demo.make()
    _wait_for(demo.port)
    process.terminate()
    output, _ = process.communicate(timeout=15)  # returns when nobody holds the output any more
    assert "Traceback" not in output
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{demo.port}/health/live")


@pytest.mark.only("sqlite")
def test_demo_refuses_a_port_that_is_none(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.port = 99999
    process = demo.start()
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "A port is a number from 1 to 65535, but '99999' came." in output
    assert "Traceback" not in output


@pytest.mark.only("sqlite")
def test_demo_names_the_port_in_use(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", demo.port))
        taken.listen()
        process = demo.start()
        output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert f"127.0.0.1:{demo.port} cannot be used" in output
    assert "make run PORT=" in output


@pytest.mark.only("sqlite")
def test_demo_needs_debug(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    demo.environment |= {"DEBUG": "false", "OPEN_ACCESS": "false", "SECRET_KEY": "x"}
    process = demo.start()
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "runs under DEBUG only" in output


def _wait_for(port: int) -> None:
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health/ready").raise_for_status()
        except httpx.HTTPError:
            continue
        return


async def test_admin_lists_filters_searches_and_marks_paid(
    server: Server, admin_client: Client
) -> None:
    """Through Django's own client: the pages themselves."""

    @sync_to_async
    def use() -> None:
        ada = User.objects.create(username="ada", email="ada@example.org")
        bob = User.objects.create(username="bob", email="bob@example.org")
        mine, other = Order.objects.create(user=ada), Order.objects.create(user=bob, state="PAID")
        path = "/admin/orders/order/"

        def rows(query: str) -> set[int]:
            result = admin_client.get(path + query).context["cl"].result_list
            return {order.pk for order in result}

        assert rows("") == {mine.pk, other.pk}
        assert rows("?state__exact=PAID") == {other.pk}
        assert rows("?q=ada@example.org") == {mine.pk}
        assert rows(f"?q={other.pk}") == {other.pk}
        form = {"action": "mark_paid", "_selected_action": [mine.pk]}
        answer = admin_client.post(path, form, follow=True)
        assert "1 orders are paid." in answer.text
        assert Order.objects.get(pk=mine.pk).state == "PAID"

    await use()


async def test_everybody_can_sign_in_not_only_staff(
    guarded_server: Server, django_user_model: type[User]
) -> None:
    user = await sync_to_async(User.objects.create_user)("ada", password="s3cret-enough")
    await Order.objects.acreate(user=user)
    async with httpx.AsyncClient() as client:
        await sign_in(client, guarded_server, "ada")
        result = await client.post(guarded_server.http, json={"query": "{ getOrders { state } }"})
    assert result.json() == {"data": {"getOrders": [{"state": "UNPAID"}]}}


async def sign_in(client: httpx.AsyncClient, server: Server, username: str) -> str:
    """Sign in at /login/, and tell where it leads."""
    address = f"http://127.0.0.1:{server.port}/login/"
    page = await client.get(address)
    token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {"username": username, "password": "s3cret-enough", "csrfmiddlewaretoken": token}
    answer = await client.post(address, data=form, headers={"Referer": address})
    assert answer.status_code == 302
    return answer.headers["location"]


@pytest.mark.parametrize(("board", "home"), [("true", "/"), ("false", "/admin/")])
async def test_signing_in_and_out_leads_to_pages_that_are_there(
    board: str, home: str, start_server: StartServer, django_user_model: type[User]
) -> None:
    server = start_server(DEBUG="true", BOARD=board)
    await sync_to_async(User.objects.create_superuser)("ada", password="s3cret-enough")
    origin = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient() as client:
        assert "<title>Sign in | Live orders</title>" in (await client.get(f"{origin}/login/")).text
        assert await sign_in(client, server, "ada") == home
        for path in ("/login/", "/login/?next=/login/"):
            again = await client.get(f"{origin}{path}")
            assert (again.status_code, again.headers["location"]) == (302, home)

        admin = await client.get(f"{origin}/admin/")
        assert admin.status_code == 200
        assert ("View site" in admin.text) == (board == "true")
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        left = await client.post(f"{origin}/admin/logout/", data=form)
        assert left.headers["location"] == ("/" if board == "true" else "/login/")


async def test_long_accept_header_is_refused_cheaply(server: Server) -> None:
    headers = {"Accept": "a/b" + ";q=1" * 10_000}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(server.http, json={"query": "{ __typename }"})
    assert answer.status_code == 406


async def test_answers_are_kept_out_of_caches(server: Server) -> None:
    answer = await get(server, "/graphql/?query={__typename}")
    assert answer.json() == {"data": {"__typename": "Query"}}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("origins", ["*", "null", "example.org", "https://a.example,https://*"])
def test_origins_must_be_named(origins: str) -> None:
    failed = start(SECRET_KEY="x", CORS_ALLOWED_ORIGINS=origins)
    assert failed.returncode != 0
    assert "CORS_ALLOWED_ORIGINS must list origins" in failed.stderr


async def test_session_key_that_no_database_takes_is_nobody(guarded_server: Server) -> None:
    headers = {"Cookie": 'sessionid="\\000aaaaaaaaaaaa"'}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(guarded_server.http, json={"query": "{ getOrders { id } }"})
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
