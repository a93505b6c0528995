"""What servers hold when all clients have gone, compared with what they held at first."""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.postgresql import DATABASE
from tests.chaos.site import POOL_SIZE
from tests.chaos.stage import Stage
from tests.protocols.raw import metrics
from tests.server import Server
from tests.workers import connections

SETTLE_SECONDS: Final = 30.0
MAX_GROWTH_MB: Final = 48
"""Of a process, after the first faults."""
MAX_MORE_FILES: Final = 4
# Each thread with a connection to SQLite has the database open, its log and its index.
MAX_MORE_FILES_OF_SQLITE: Final = MAX_MORE_FILES + 3 * 2 * POOL_SIZE
MAX_MORE_THREADS: Final = 12
"""Executors start threads when there is work, and keep them."""
# GraphQL has a pool, Django's views have another, and the feed has one.
MAX_DATABASE_CONNECTIONS: Final = 2 * POOL_SIZE + 1


@dataclass(frozen=True, slots=True)
class Held:
    """What one process holds."""

    sockets: int
    files: int
    """But sockets."""
    threads: int
    resident_mb: int


def held_by(pid: int) -> Held:
    """Look at a process."""
    targets = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in between
            targets.append(str(file.readlink()))
    sockets = sum(target.startswith("socket:") for target in targets)
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") >> 20
    return Held(sockets, len(targets) - sockets, int(status["Threads"]), megabytes)


def all_held(stage: Stage) -> dict[int, Held]:
    """Look at all processes that serve."""
    return {pid: held_by(pid) for pid in stage.site.processes()}


async def tasks_of(stage: Stage) -> dict[int, int]:
    """Return how many tasks each server has, by its port; nobody may be connected."""
    site = stage.site
    (tasks,) = {(await asyncio.to_thread(metrics, each))["tasks"] for each in site.singles}
    # What workers count together may be some seconds old.
    found = {single.port: tasks for single in site.singles}
    return {site.workers.port: tasks * len(site.workers.workers()), **found}


async def left_behind(
    stage: Stage, tasks: dict[int, int], idle: dict[int, Held], first: dict[int, Held]
) -> tuple[list[str], list[str]]:
    """Return what is left that should not be, and what was compared, a line each.

    `idle` is what processes held before anybody came, `first` what they held after some faults.
    """
    wrong = []
    for server in stage.site.servers:
        wanted = {"connections": 0, "subscribers": 0, "sources": 0, "tasks": tasks[server.port]}
        if differences := await _become(server, wanted):
            wrong.append(f"The server at {server.port} still has {differences}, not {wanted}")
    most = max(held.sockets for held in idle.values()) + MAX_DATABASE_CONNECTIONS
    ends_at = time.monotonic() + SETTLE_SECONDS  # nginx keeps some connections for a moment
    while any(held.sockets > most for held in all_held(stage).values()):
        if time.monotonic() > ends_at:
            wrong.append(f"More than {most} sockets are open: {all_held(stage)}")
            break
        await asyncio.sleep(0.2)
    last = all_held(stage)
    least = min(first.values(), key=lambda held: held.files)
    for pid, held in last.items():
        before = first.get(pid, least)
        more = MAX_MORE_FILES_OF_SQLITE if stage.cluster is None else MAX_MORE_FILES
        if held.files > before.files + more:
            wrong.append(f"Process {pid} has {held.files} files open, at first {before.files}")
        if held.threads > before.threads + MAX_MORE_THREADS:
            wrong.append(f"Process {pid} has {held.threads} threads, at first {before.threads}")
        if pid in first and held.resident_mb > before.resident_mb + MAX_GROWTH_MB:
            wrong.append(f"Process {pid} has {held.resident_mb} MB, at first {before.resident_mb}")
    told = [f"of a process that has lived through all: {first[p]}, then {last[p]}"
            for p in last if p in first]  # fmt: skip
    if stage.cluster is not None:
        wrong += await asyncio.to_thread(_database_connections, stage)
    return wrong, told


async def _become(server: Server, wanted: dict[str, int]) -> dict[str, int]:
    """Wait until the metrics are as wanted; return those that do not become so."""
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                numbers = await asyncio.to_thread(metrics, server)
                different = {n: numbers[n] for n, v in wanted.items() if numbers[n] != v}
                if not different:
                    return {}
                await asyncio.sleep(0.2)
    except TimeoutError:
        return different


def _database_connections(stage: Stage) -> list[str]:
    """What is wrong with the connections to PostgreSQL, when there has been time to end."""
    ends_at = time.monotonic() + SETTLE_SECONDS
    while wrong := _wrong_connections(stage):
        if time.monotonic() > ends_at:
            break
        time.sleep(0.2)  # A look of the feed may be under way.
    return wrong


def _wrong_connections(stage: Stage) -> list[str]:
    rows = stage.postgresql.primary.execute(
        f"SELECT client_port, state, query FROM pg_stat_activity WHERE datname = '{DATABASE}'"
    )
    # Of who has given up when packets vanished, PostgreSQL has heard nothing yet.
    ports = {port for port, _ in connections()}
    held = [row for row in rows if row[0] in ports]
    allowed = MAX_DATABASE_CONNECTIONS * len(stage.site.processes())
    busy = [str(query) for _, state, query in held if state != "idle"]
    wrong = []
    if len(held) > allowed:
        wrong.append(f"{len(held)} database connections are open, but at most {allowed} may be")
    if busy:
        wrong.append(f"{len(busy)} database connections are at work: {'; '.join(busy)}")
    return wrong
