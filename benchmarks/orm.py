"""Measure one way to ask the ORM from a coroutine, with the database near and far."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.database import ROOT, PostgreSQLDatabase

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

TABLES: Final = ("orders_order", "auth_user")
_SELECT: Final = re.compile(rb'SELECT (.+?) FROM "orders_order"', re.DOTALL)


def arms() -> list[str]:
    """Those that run on this Python."""
    return [name for name in ARMS if name != "async_backend" or sys.version_info >= (3, 12)]


def measure(
    arm: str, database: PostgreSQLDatabase, socket: Path, seconds: float
) -> Iterator[tuple[int, dict[str, float]]]:
    """Run the arm with each number of callers: that number, and the figures.

    Raises RuntimeError if it has not loaded every column of an order and its user.
    """
    database.logged()  # What others have sent does not count.
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
    require_columns(arm, database.logged(), database.columns(*TABLES))
    for line in process.stdout.splitlines():
        figures = json.loads(line)
        yield int(figures.pop("callers")), figures


def require_columns(arm: str, statements: Iterable[bytes], columns: set[str]) -> None:
    """Raise RuntimeError unless each of the arm's queries has loaded just these columns."""
    lists = {found[1].decode() for each in statements if (found := _SELECT.search(each))}
    if not lists:
        raise RuntimeError(f"The ORM arm {arm} has read no order.")
    for each in lists:
        if (loaded := set(each.split(", "))) != columns:
            raise RuntimeError(
                f"The ORM arm {arm} has to load the columns that all arms do; "
                f"it differs in {', '.join(sorted(loaded ^ columns))}."
            )
