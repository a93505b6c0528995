"""The units as they ship: what systemd says of them, and that their command serves."""

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import program
from tests.server import ROOT, ProjectServer

pytestmark = pytest.mark.once

DEPLOY = ROOT / "deploy"
UNITS = ("live@.service", "live.target", "live-migrate.service")
CURRENT, NEXT = "/opt/live/current", "/opt/live/next"
MOST_EXPOSURE = 1.2
"""Of 10, by systemd's own judgement."""
GRACE = "--timeout-graceful-shutdown"
READY_SECONDS = 20


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    """The path of systemd's checker. In CI it must be there."""
    return program("systemd-analyze", "systemd is needed: apt-get install systemd")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units, as if this clone were where they look for it."""
    for name in UNITS:
        text = (DEPLOY / name).read_text()
        for release in (CURRENT, NEXT):
            text = text.replace(f"{release}/.venv/bin", str(Path(sys.executable).parent))
            text = text.replace(release, str(ROOT))
        (tmp_path / name).write_text(text)
    return tmp_path


class Unit:
    """What a unit file says."""

    def __init__(self, name: str) -> None:
        self._sections = configparser.RawConfigParser(strict=False, delimiters="=")
        self._sections.optionxform = str  # type: ignore[assignment, method-assign]
        self._sections.read_string((DEPLOY / name).read_text().replace("\\\n", " "))

    def __getitem__(self, name: str) -> str:
        return self._sections["Service"][name]

    def command(self, port: int) -> list[str]:
        """What starts the instance of this port."""
        return shlex.split(self["ExecStart"].replace("%i", str(port)))


def test_systemd_finds_no_fault(systemd_analyze: str, units: Path) -> None:
    shutil.copy(units / "live@.service", units / "live@8001.service")
    names = ("live@8001.service", *UNITS[1:])
    done = subprocess.run(
        [systemd_analyze, "verify", *(units / name for name in names)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["live@.service", "live-migrate.service"])
def test_little_is_open_to_whoever_takes_a_process_over(
    systemd_analyze: str, name: str, units: Path
) -> None:
    threshold = f"--threshold={MOST_EXPOSURE * 10:g}"
    command = [systemd_analyze, "security", "--offline=true", threshold, str(units / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Instance(ProjectServer):
    """The unit's own command, on the tests' database."""

    deployment = ()

    @property
    def command(self) -> list[str]:
        """What starts it."""
        program, application, *options = Unit("live@.service").command(self.port)
        assert Path(program) == Path(CURRENT, ".venv/bin/uvicorn")
        return [self.python, "-m", "uvicorn", application, *options]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where messages to systemd arrive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(READY_SECONDS)
        yield listener


def test_command_serves_and_ends_in_time(
    transactional_db: None, database_url: str, manager: socket.socket, tmp_path: Path
) -> None:
    unit = Unit("live@.service")
    with Instance(
        tmp_path / "log", database_url, NOTIFY_SOCKET=manager.getsockname(), METRICS="true",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "metrics"), UVICORN_HOST="0.0.0.0",
    ) as server:  # fmt: skip
        while not manager.recv(1000).startswith(b"READY=1"):
            pass
        assert f"running on http://0.0.0.0:{server.port} " in server.log
        os.kill(server.pid, signal.Signals[unit["KillSignal"]])
        assert server.stop() in {0, -signal.SIGTERM}
    assert "WARNING" not in server.log.replace("WARNING app.web.pages", ""), server.log
    command = unit.command(8001)
    grace = int(command[command.index(GRACE) + 1])
    assert grace + 5 <= int(unit["TimeoutStopSec"])


RESTARTED = "restarted"
SYSTEMCTL = f"""#!/bin/sh
case "$1" in
list-units) printf 'live@%s.service loaded active running Live\\n' 8001 8002 8003 ;;
restart) echo "$2" >> {RESTARTED}; [ "$2" != "$FAILS" ] ;;
esac
"""


@pytest.mark.parametrize(
    ("fails", "restarted"),
    [("", ["8001", "8002", "8003"]), ("live@8002.service", ["8001", "8002"])],
)
def test_restart_ends_with_the_first_that_does_not_come_back(
    fails: str, restarted: list[str], tmp_path: Path
) -> None:
    """By a systemctl of the test's."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PAUSE_SECONDS": "0", "FAILS": fails}
    done = subprocess.run([DEPLOY / "restart"], cwd=tmp_path, env=environment, check=False)
    assert (done.returncode == 0) == (not fails)
    lines = (tmp_path / RESTARTED).read_text().split()
    assert lines == [f"live@{port}.service" for port in restarted]
