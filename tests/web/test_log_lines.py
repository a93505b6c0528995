"""One line an event, as JSON off DEBUG, with whose it is, and with no secret in it."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User

from app.web.logs import JSONFormatter, LineFormatter
from tests.clients import connect, get
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import INIT, closing, websocket
from tests.server import ROOT, Server
from tests.workers import Workers

pytestmark = pytest.mark.once

SET = "mutation($id: ID!) { setState(id: $id, state: DONE) { id } }"
SECRET = "a-secret-token"


class JSONWorkers(Workers):
    """Several workers whose supervisor writes JSON, too."""

    arguments = ("--workers", "2", "--log-config", str(ROOT / "deploy" / "uvicorn-logging.json"))


class SilentServer(Server):
    """Without an access log, as its command line says."""

    arguments = ("--no-access-log",)


@pytest.fixture
def server(share_server: StartServer, transactional_db: None) -> Server:
    """One that writes much."""
    return share_server(Server, LOG_LEVEL="DEBUG")


def lines(server: Server) -> list[dict[str, Any]]:
    """The server's log, each of whose lines must be an object."""
    return [json.loads(line) for line in server.log.splitlines()]


def about(server: Server, text: str) -> list[dict[str, Any]]:
    """The lines whose message has a text."""
    return [line for line in lines(server) if text in line["message"]]


async def test_lines_name_connection_and_operation(server: Server) -> None:
    user = await User.objects.acreate(username="ada")
    item = await Item.objects.acreate(owner=user)
    async with connect(server.websocket, user) as socket:
        await socket.send(
            type="subscribe",
            id="my-operation",
            payload={"query": SET, "variables": {"id": str(item.pk)}},
        )
        await socket.next()
        await socket.send(type="connection_init")
        await closing(socket.connection)
    [setting] = about(server, f"Setting the state of item {item.pk}")
    [closed] = about(server, "closed with 4429")
    assert setting["operation"] == "my-operation"
    assert setting["connection"] == closed["connection"]
    assert re.fullmatch(r"\d+-\d+", closed["connection"])
    assert "operation" not in closed
    assert {*setting} == {
        "time", "level", "logger", "message", "process", "connection", "operation",
    }  # fmt: skip
    assert setting["level"] == "INFO"
    assert setting["logger"] == "tests.items.schema"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}\+00:00", setting["time"])


async def test_lines_of_a_shared_source_name_it(server: Server) -> None:
    user = await User.objects.acreate(username="ada")
    async with connect(server.websocket, user) as socket:
        await socket.subscribe("subscription Newest { item { id } }")
        await socket.next()
    [line] = about(server, "is woken by")
    assert re.fullmatch(r"source \d+: Newest", line["operation"])
    assert "connection" not in line  # for it is everybody's


async def test_secrets_in_addresses_are_not_written_down(server: Server) -> None:
    await get(server, f"/graphql/?query={{__typename}}&token={SECRET}")
    await get(server, f"/nothing/?token={SECRET}")
    path = f"{server.websocket}?token={SECRET}"
    async with connect(path):
        pass
    requests = [line["message"] for line in lines(server) if line["logger"] == "uvicorn.access"]
    assert any('"GET /graphql/?… HTTP/1.1" 200' in message for message in requests)
    assert any('"GET /nothing/?… HTTP/1.1" 404' in message for message in requests)
    assert about(server, '"WebSocket /graphql/?…" [accepted]')
    assert SECRET not in server.log


async def test_shutdown_is_one_line_whoever_is_connected(start_server: StartServer) -> None:
    user = await User.objects.acreate(username="ada")
    server = start_server()
    async with AsyncExitStack() as stack:
        for _ in range(10):
            socket = await stack.enter_async_context(connect(server.websocket, user))
            await socket.subscribe("subscription { item { id } }")
            await socket.next()
        before = len(lines(server))
        await asyncio.to_thread(server.stop)
    told = [line["message"] for line in lines(server)[before:]]
    [summary] = [message for message in told if "The server stops" in message]
    assert summary == "The server stops, and closes 10 WebSockets and event streams."
    assert len(told) < 8, told  # with uvicorn's own
    opened = [
        line for line in lines(server) if re.search("WebSocket /|connection", line["message"])
    ]
    assert len(opened) == 10


async def test_supervisor_writes_json_if_its_options_say_so(
    transactional_db: None, start_server: StartServer, database_url: str, tmp_path: Any
) -> None:
    with JSONWorkers(tmp_path / "log", database_url) as server:
        await get(server, f"/graphql/?query={{__typename}}&token={SECRET}")
    told = lines(server)
    assert [line for line in told if line["message"].startswith("Started parent process")]
    assert len({line["process"] for line in told}) == 3
    assert SECRET not in server.log


async def test_access_log_stays_off(
    transactional_db: None, database_url: str, tmp_path: Any
) -> None:
    with SilentServer(tmp_path / "log", database_url) as server:
        await get(server, "/graphql/?query={__typename}")
    assert [line for line in lines(server) if line["logger"] == "uvicorn.access"] == []


def test_documented_settings_do_the_same() -> None:
    page = (ROOT / "docs" / "operation.md").read_text()
    code = re.findall(r"```python\n(LOGGING_CONFIG = .*?)```", page, re.DOTALL)[0]
    code = code.replace("live_graphql", "app").replace("LOGGING_CONFIG =", "name =")
    code += (
        "\nfrom django.utils.module_loading import import_string\n"
        "import logging\n"
        "import_string(name)(LOGGING)\n"
        "logging.getLogger('app.live').info('Told.')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr)["message"] == "Told."


async def test_people_get_lines_if_they_ask_for_them(start_server: StartServer) -> None:
    server = start_server(LOG_FORMAT="line")
    async with websocket(server, is_ready=True) as connection:
        await connection.send(INIT)
        await closing(connection)
    [line] = [each for each in server.log.splitlines() if "closed with 4429" in each]
    pattern = r"[\d-]+ [\d:,]+ INFO app\.transports\.handshake: WebSocket of .* \[connection \S+\]"
    assert re.fullmatch(pattern, line)


def test_a_client_cannot_write_lines_of_its_own() -> None:
    to_line = LineFormatter("{levelname}: {message}", style="{")
    to_json = JSONFormatter()
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "origin %s", "args": ("x\nERROR: y\r\x1b[2Kü",)}
    )
    assert to_line.format(record) == r"INFO: origin x\nERROR: y\r\x1b[2Kü"
    assert r'"message": "origin x\nERROR: y\r\u001b[2K\u00fc"' in to_json.format(record)
