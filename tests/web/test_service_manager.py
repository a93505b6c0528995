"""What systemd is told, by a socket in its place."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import get
from tests.server import Server

PATIENCE_SECONDS = 20
OPEN = {"DEBUG": "true", "OPEN_ACCESS": "true"}

pytestmark = pytest.mark.once


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """Where messages to systemd arrive, under an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0live-{time.monotonic_ns()}")
        listener.settimeout(PATIENCE_SECONDS)
        yield listener


@pytest.fixture
def notified(
    manager: socket.socket, transactional_db: None, database_url: str, tmp_path: Path
) -> Server:
    """A server that is not yet started, of a unit with `WatchdogSec=0.3`."""
    address = manager.getsockname().decode().replace("\0", "@")
    variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}
    return Server(tmp_path / "log", database_url, **OPEN, **variables)


def test_systemd_is_told_when_it_is_ready_alive_and_stops(
    notified: Server, manager: socket.socket
) -> None:
    with notified:
        told = manager.recv(1000)
        while told.startswith(b"STATUS=Not ready: "):
            told = manager.recv(1000)
        assert told == b"READY=1\nSTATUS=Serves"
        for _ in range(3):
            assert manager.recv(1000) == b"WATCHDOG=1"
    while (told := manager.recv(1000)) != b"STOPPING=1":
        assert told == b"WATCHDOG=1"
    assert "Traceback" not in notified.log


class Unready(Server):
    """One that will not be ready."""

    ready_path = "/health/live"


def test_process_without_its_database_is_not_ready(manager: socket.socket, tmp_path: Path) -> None:
    address = manager.getsockname().decode().replace("\0", "@")
    nowhere = "postgres://nobody@127.0.0.1:1/nothing"
    with Unready(tmp_path / "log", nowhere, **OPEN, NOTIFY_SOCKET=address):
        for _ in range(2):
            assert manager.recv(1000) == b"STATUS=Not ready: the change feed is not connected"


async def test_nothing_depends_on_a_manager_that_hears(
    manager: socket.socket, notified: Server
) -> None:
    manager.close()
    with notified:
        assert (await get(notified, "/health/ready")).status_code == 200
    assert "Traceback" not in notified.log
