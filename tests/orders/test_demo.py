"""`make run`: the demo shows life, and ends with all that it has started."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.clients import connect
from tests.server import ROOT, free_port


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
