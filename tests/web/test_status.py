"""`manage.py live` tells what is subscribed in the workers that run."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from app.management.commands.live import CLEAR
from app.web import status_report
from tests.clients import connect
from tests.items.models import Item
from tests.server import ROOT, Server
from tests.workers import NEWEST, Workers, everywhere

NAMED = "subscription Board { item { id } }"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where sockets are; of a short name, since theirs may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="live") as name:
        yield Path(name, "status")


@pytest.fixture
def server(
    transactional_db: None, database_url: str, folder: Path, tmp_path: Path
) -> Iterator[Workers]:
    """Three workers."""
    Item.objects.create(owner=User.objects.create(username="v"))
    settings = {"DEBUG": "true", "OPEN_ACCESS": "true", "LIVE_STATUS_DIR": str(folder)}
    with Workers(tmp_path / "log", database_url, **settings) as server:
        yield server
    assert "Traceback" not in server.log, server.log
    assert list(folder.iterdir()) == []


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command says, as an operator calls it."""
    environment = os.environ | {"DEBUG": "true", "LIVE_STATUS_DIR": str(folder)}
    command = [sys.executable, "manage.py", "live", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


async def report(folder: Path, *arguments: str) -> dict[str, Any]:
    """The same as JSON."""
    done = await asyncio.to_thread(call, folder, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def text(folder: Path, *arguments: str) -> list[str]:
    """The same as a person sees it."""
    done = await asyncio.to_thread(call, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def test_all_workers_are_added_up(server: Workers, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        clients = len(await everywhere(server, stack))
        named = await stack.enter_async_context(connect(server.websocket))
        await named.subscribe(NAMED)
        await named.next()
        told = await report(folder)
        assert {each["worker"] for each in told["workers"]} == server.workers()
        assert {each["server"] for each in told["workers"]} == {server.pid}
        assert sum(each["connections"] for each in told["workers"]) == clients + 1
        assert sum(each["subscribers"] for each in told["sources"]) == clients + 1
        for each in told["sources"]:
            assert each["executions"] >= each["results"] >= 1
            assert each["messages"] >= each["subscribers"]
            assert 0 < each["seconds"] < 60
            assert each["idle_seconds"] >= 0
            assert "items_item" in {cause["table"] for cause in each["woken_by"]}
        servers, _, header, *lines = await text(folder, "--sort", "subscribers")
        assert servers.startswith(f"Server {server.pid} (tests.items.settings")
        assert f"3 workers, {clients + 1} connections, 4 sources" in servers
        assert header.split()[:3] == ["operation", "sources", "subscribers"]
        assert [line.split()[:3] for line in lines[:1]] == [["item", "3", str(clients)]]
        assert lines[1].split()[:4] == ["Board", "(item)", "1", "1"]
        assert all("items_item" in line for line in lines)
        # What a worker that was killed leaves is removed.
        killed = min(server.workers())
        os.kill(killed, signal.SIGKILL)
        assert killed not in {each["worker"] for each in (await report(folder))["workers"]}


@pytest.mark.once
async def test_one_operation_is_told_by_viewers(
    transactional_db: None, database_url: str, folder: Path, tmp_path: Path
) -> None:
    users = [await User.objects.acreate(username=name) for name in ("ada", "bob")]
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(two_servers(database_url, folder, tmp_path))
        for server in servers:
            for user in users:
                client = await stack.enter_async_context(connect(server.websocket, user))
                await client.subscribe(NEWEST)
                await client.next()
        told = await text(folder, "--operation", "item")
        assert [line.split()[1] for line in told[:2]] == [str(each.pid) for each in servers]
        viewers = {" ".join(line.split()[:4]) for line in told[4:]}
        assert viewers == {f"item of user {user.pk}" for user in users}
        assert (await report(folder, "--operation", "unknown"))["sources"] == []


@pytest.mark.once
def test_it_is_printed_anew_until_interrupted(server: Workers, folder: Path) -> None:
    command = [sys.executable, "manage.py", "live", "--watch", "0.1"]
    environment = os.environ | {"DEBUG": "true", "LIVE_STATUS_DIR": str(folder)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        assert watching.stdout
        assert watching.stderr
        told = b""
        while told.count(CLEAR.encode()) < 3:
            told += os.read(watching.stdout.fileno(), 1 << 16)
        watching.send_signal(signal.SIGINT)
        assert watching.stderr.read() == b""
        assert watching.wait() == 0
    assert told.count(b"3 workers, 0 connections, 0 sources") >= 2


@contextmanager
def two_servers(database_url: str, folder: Path, tmp_path: Path) -> Iterator[list[Server]]:
    """On two ports of one host, in the order of their process numbers."""
    with (
        Server(tmp_path / "1", database_url, LIVE_STATUS_DIR=str(folder)) as one,
        Server(tmp_path / "2", database_url, LIVE_STATUS_DIR=str(folder)) as other,
    ):
        yield sorted([one, other], key=lambda each: str(each.pid))


@pytest.mark.once
def test_worker_that_is_frozen_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_report, "PATIENCE_SECONDS", 0.1)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(folder / "7-8"))
        frozen.listen()
        told = status_report.Report(status_report.read_all(folder), None)
    text = told.as_text("cost", 10)
    assert text.startswith("Server 7: 1 worker, 0 connections, 0 sources; no answer from 8\n")
    assert told.as_json()["workers"] == [{"server": 7, "worker": 8, "answers": False}]


@pytest.mark.once
def test_no_server_is_told_in_one_sentence(folder: Path) -> None:
    done = call(folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"CommandError: No server runs: none has a socket in {folder}.")


@pytest.mark.once
def test_nobody_else_may_look(server: Workers, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.once
def test_server_does_without_a_folder_that_others_may_enter(
    transactional_db: None, database_url: str, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(mode=0o755)
    with Server(tmp_path / "log", database_url, LIVE_STATUS_DIR=str(folder)) as server:
        assert list(folder.iterdir()) == []
    assert "must be a folder that its owner alone may enter" in server.log
    assert "Traceback" not in server.log
