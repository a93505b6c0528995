"""Measure one way to ask the ORM from a coroutine, with the database near and far."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.database import ROOT

ARMS: Final = {
    "channels": "database_sync_to_async(… .last())",
    "django_alast": "Django's alast()",
    "async_backend": "django-async-backend's alast()",
    "ours": "this project's alast()",
    "raw": "psycopg without an ORM",
}
LATENCIES_MS: Final = (0, 5)
CONNECTIONS: Final = 12
"""Of each arm with a pool: with eight, 5 ms away, the pool is busy before the processor is."""


def arms() -> list[str]:
    """Those that run on this Python."""
    return [name for name in ARMS if name != "async_backend" or sys.version_info >= (3, 12)]


def measure(arm: str, socket: Path, seconds: float) -> Iterator[tuple[int, dict[str, float]]]:
    """Run the arm with each number of callers: that number, and the figures."""
    settings = "benchmarks.open_settings" if arm == "ours" else "benchmarks.default_settings"
    environment = os.environ | {
        "DATABASE_URL": f"postgresql://measured@/benchmark?host={socket}",
        "DATABASE_POOL_SIZE": str(CONNECTIONS),
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": settings,
    }
    command = [sys.executable, "-m", "benchmarks.callers", arm, str(seconds)]
    with machine.pinned(machine.server_processor()):
        process = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    if process.returncode:
        raise RuntimeError(f"The ORM arm {arm} failed:\n{process.stderr}")
    for line in process.stdout.splitlines():
        figures = json.loads(line)
        yield int(figures.pop("callers")), figures
