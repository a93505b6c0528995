"""A systemd of the tests' own: the first process in namespaces in which nothing but units runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server import ROOT

PATIENCE_SECONDS = 30
UNITS = ("live@.service", "live.target", "live-migrate.service")
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "default")
"""Which units name without saying so, and which are not wanted here."""
PATHS = {"SYSTEMD_UNIT_PATH": "/run/units", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
START = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir /run/units
cp -a {folder}/units/. /run/units
mount --bind {python} {folder}/opt/live/python
mount --bind {packages} {folder}/opt/live/packages
mount --rbind {folder}/opt /opt
mount --bind {folder}/lib /var/lib
mount --bind {folder}/etc /etc
exec /lib/systemd/systemd --unit=default.target --log-target=console --show-status=no
"""
UVICORN = """#!/opt/live/current/.venv/bin/python
import sys
from uvicorn.main import main
sys.exit(main())
"""
ALLOWED = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup"]


class Systemd:
    """Ways to a running systemd."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder = folder
        self._pid = pid

    @property
    def log(self) -> str:
        """What the units have written."""
        return (self._folder / "log").read_text()

    def run(self, *command: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the units are."""
        return subprocess.run(
            ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--ipc", "--uts", "--cgroup",
             *map(str, command)],
            env=PATHS | environment, capture_output=True, text=True, check=False,
            timeout=3 * PATIENCE_SECONDS,
        )  # fmt: skip

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints. Fail if it fails."""
        done = self.run("systemctl", *arguments)
        assert done.returncode == 0, f"{arguments}\n{done.stderr}\n{self.log}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)


@contextmanager
def systemd(folder: Path, units: dict[str, str], environment: str) -> Iterator[Systemd]:
    """A running one with the units that ship, and these; `environment` is /etc/live/environment."""
    _install(folder, units, environment)
    script = START.format(
        folder=folder, python=sys.base_prefix, packages=sysconfig.get_path("purelib")
    )
    group = _group()
    group.mkdir()
    command = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(group)]
    with (folder / "manager.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *ALLOWED, "--kill-child", "sh", "-c", script],
            env=PATHS | {"container": "tests"}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield _started(folder, process)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        _remove(group)


def is_allowed() -> bool:
    """Whether this process may make such namespaces: root may, unless it is in a container."""
    if " cgroup2 " not in Path("/proc/mounts").read_text():
        return False
    mounts = "mount -t proc proc /proc && mount -t cgroup2 none /sys/fs/cgroup"
    done = subprocess.run([*ALLOWED, "sh", "-c", mounts], capture_output=True, check=False)
    return done.returncode == 0 and os.access(_group().parent, os.W_OK)


def _started(folder: Path, process: subprocess.Popen[bytes]) -> Systemd:
    deadline = time.monotonic() + PATIENCE_SECONDS
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"systemd did not start:\n{(folder / 'manager.log').read_text()}")
        if pids := children.read_text().split():
            found = Systemd(folder, int(pids[0]))
            if found.run("systemctl", "is-system-running").stdout.strip() in {
                "running",
                "degraded",
            }:
                return found
        time.sleep(0.05)


def _install(folder: Path, units: dict[str, str], environment: str) -> None:
    """Make the folders that systemd finds as /opt, /etc, /var/lib and /run/units."""
    live = folder / "opt" / "live"
    current = live / "current"
    for path in (live / "python", live / "packages", current, folder / "lib", folder / "units"):
        path.mkdir(parents=True)
    for name in ("app", "orders", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, current / name, ignore=ignored)
    for name in ("asgi.py", "settings.py", "manage.py"):
        shutil.copy(ROOT / name, current)
    _create_environment(current / ".venv")
    (live / "next").symlink_to("current")
    shutil.copytree("/etc", folder / "etc", symlinks=True)
    with (folder / "etc" / "passwd").open("a") as users:
        users.write("live:x:977:977::/nonexistent:/usr/sbin/nologin\n")
    with (folder / "etc" / "group").open("a") as groups:
        groups.write("live:x:977:\n")
    file = folder / "etc" / "live" / "environment"
    file.parent.mkdir(mode=0o700)
    # Where Python was built as a library; systemd's units do not have the tests' environment.
    file.write_text(f"{environment}LD_LIBRARY_PATH=/opt/live/python/lib\n")
    file.chmod(0o600)
    for name in UNITS:
        shutil.copy(ROOT / "deploy" / name, folder / "units")
    log = folder / "log"
    log.touch()
    logged = f"[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n"
    empty = "[Unit]\nDefaultDependencies=no\n"
    units = {f"{name}.target": empty for name in TARGETS} | {"service.d/log.conf": logged} | units
    for name, text in units.items():
        path = folder / "units" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _create_environment(folder: Path) -> None:
    """Create what `python -m venv` would make, of paths that are there only later."""
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tests.pth").write_text("/opt/live/packages\n")
    (folder / "pyvenv.cfg").write_text("home = /opt/live/python/bin\n")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python").symlink_to("/opt/live/python/bin/python3")
    (programs / "uvicorn").write_text(UVICORN)
    (programs / "uvicorn").chmod(0o755)


def _group() -> Path:
    """A control group for all that runs there, which has to be made."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    root = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))
    return root / own / f"live-tests-{os.getpid()}"


def _remove(group: Path) -> None:
    """Remove a control group, when all of its processes have ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "populated 1" in (group / "cgroup.events").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for path in sorted([group, *group.rglob("*/")], reverse=True):
        path.rmdir()
