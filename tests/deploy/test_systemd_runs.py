"""The units under a real systemd: what they promise, and what their sandbox refuses."""

import json
import signal
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from tests.conftest import program
from tests.deploy.systemd import Systemd, is_allowed, systemd
from tests.server import ROOT, free_port

pytestmark = pytest.mark.once

ENVIRONMENT = """\
SECRET_KEY=only-for-tests-where-nothing-is-secret-but-django-wants-it-long-8jw2
DATABASE_URL=sqlite:////var/lib/live/db.sqlite3
METRICS=true
"""
IMPATIENT = "[Service]\nWatchdogSec=1\n"
PROBE = """
import ctypes, json, mmap, os, pathlib, socket

def result(attempt):
    try:
        attempt()
    except OSError as error:
        return error.strerror
    return "done"

def system_call(name, *arguments):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

print("probe", json.dumps({
    "write state": result(pathlib.Path("/var/lib/live/probe").touch),
    "write temporary": result(pathlib.Path("/tmp/probe").touch),
    "write code": result(pathlib.Path("/opt/live/current/probe").touch),
    "write settings": result(pathlib.Path("/etc/probe").touch),
    "read secrets": result(pathlib.Path("/etc/live/environment").read_text),
    "see homes": result(lambda: os.listdir("/home")),
    "see processes": [pid for pid in os.listdir("/proc") if pid.isdecimal() and pid == "1"],
    "talk to the kernel": result(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "sniff": result(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "talk to a database": result(lambda: socket.socket(socket.AF_INET)),
    "become root": result(lambda: os.setuid(0)),
    "trace": result(lambda: system_call("ptrace", 0, 0, 0, 0)),
    "mount": result(lambda: system_call("mount", b"x", b"/tmp", b"tmpfs", 0, None)),
    "own namespaces": result(lambda: system_call("unshare", 0x10000000)),
    "write machine code": result(
        lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
    ),
}))
"""
READ_ONLY, REFUSED, NO_FAMILY = (
    "Read-only file system", "Operation not permitted", "Address family not supported by protocol"
)  # fmt: skip
EXPECTED = {
    "write state": "done",
    "write temporary": "done",
    "write code": READ_ONLY,
    "write settings": READ_ONLY,
    "read secrets": "Permission denied",
    "see homes": "Permission denied",
    "see processes": [],
    "talk to the kernel": NO_FAMILY,
    "sniff": NO_FAMILY,
    "talk to a database": "done",
    "become root": REFUSED,
    "trace": REFUSED,
    "mount": REFUSED,
    "own namespaces": REFUSED,
    "write machine code": REFUSED,
}


@pytest.fixture(scope="module")
def ports() -> list[int]:
    """Of the instances."""
    return [free_port(), free_port()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, ports: list[int]) -> Iterator[Systemd]:
    """A systemd with two instances, on a database that it has migrated."""
    program("systemctl", "systemd is needed: apt-get install systemd")
    if not is_allowed():
        pytest.skip("A systemd of one's own needs the rights to make namespaces and mounts.")
    migrate = (ROOT / "deploy" / "live-migrate.service").read_text()
    lines = [line for line in migrate.splitlines() if not line.startswith("ExecStart=")]
    probe = "\n".join(lines).replace(
        "[Service]", "[Service]\nExecStart=/opt/live/current/.venv/bin/python /run/units/probe.py"
    )
    folder = tmp_path_factory.mktemp("systemd")
    units = {"probe.service": probe, "probe.py": PROBE}
    with systemd(folder, units, ENVIRONMENT) as manager:
        manager.systemctl("start", "live-migrate")
        manager.systemctl("start", *(f"live@{port}" for port in ports))
        yield manager


def is_ready(port: int) -> bool:
    """Whether the process on this port may have clients, now."""
    with urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as answer:
        return bool(answer.status == 200)


def test_start_returns_when_clients_can_be_served(running: Systemd, ports: list[int]) -> None:
    assert all(map(is_ready, ports))
    # All instances count together, past their PrivateTmp.
    folder = "/run/live/metrics"
    running.wait_for(lambda: running.run("ls", folder).stdout.count("gauge_livemin_") == len(ports))
    assert running.show(f"live@{ports[0]}", "StatusText") == "Serves"


def test_restart_takes_one_after_the_other(running: Systemd, ports: list[int]) -> None:
    before = [running.show(f"live@{port}", "MainPID") for port in ports]
    done = running.run("/opt/live/current/deploy/restart", PAUSE_SECONDS="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[1::2] == [f"live@{port}.service" for port in sorted(ports)]
    assert all(map(is_ready, ports))
    assert not {*before} & {running.show(f"live@{port}", "MainPID") for port in ports}


def test_sandbox_refuses_what_a_server_does_not_do(running: Systemd) -> None:
    running.systemctl("start", "probe")
    (line,) = [line for line in running.log.splitlines() if line.startswith("probe ")]
    assert json.loads(line.removeprefix("probe ")) == EXPECTED


def test_process_that_hangs_is_replaced_and_says_where(running: Systemd, ports: list[int]) -> None:
    unit = f"live@{ports[0]}"
    running.run("mkdir", f"/run/units/{unit}.service.d")
    running.run("sh", "-c", f"printf '{IMPATIENT}' > /run/units/{unit}.service.d/watchdog.conf")
    running.systemctl("daemon-reload")
    running.systemctl("restart", unit)
    hangs = running.show(unit, "MainPID")
    assert running.run("kill", f"-{signal.Signals.SIGSTOP.name[3:]}", hangs).returncode == 0
    running.wait_for(lambda: running.show(unit, "ActiveState") == "active"
                     and running.show(unit, "MainPID") != hangs)  # fmt: skip
    assert is_ready(ports[0])
    assert "Fatal Python error: Aborted" in running.log
    assert running.show(unit, "NRestarts") == "1"
