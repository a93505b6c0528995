"""What replicas cost: `python -m benchmarks.replicas`.

One process, different subscriptions of one client, and changes that concern all of them: without
replicas, with one that keeps up, and with one that applies commits half a second late.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import psutil
import psycopg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.postgresql import PostgreSQL
from tests.replication import Standby, standby
from tests.server import ROOT, ProjectServer

CHANGES: Final = 50
PAUSE_SECONDS: Final = 0.2
SUBSCRIPTIONS: Final = (1, 50)
ARMS: Final = {"none": None, "one, in time": "0", "one, 500 ms late": "500ms"}
FIRST: Final = "INSERT INTO auth_user (id, username, password, first_name, last_name, email, is_superuser, is_staff, is_active, date_joined) VALUES (1, 'ada', '', '', '', '', false, false, true, now()); INSERT INTO orders_order (date, state, user_id) VALUES ('2000-01-01', 'UNPAID', 1)"  # fmt: skip  # noqa: E501
CHANGE: Final = "UPDATE orders_order SET date = date + 1"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one change."""

    median_ms: float
    """From the commit to the last message."""
    worst_ms: float
    cpu_ms: float
    """Of the server."""


async def measure(server: ProjectServer, url: str, count: int) -> Cost:
    """Change an order again and again, and wait each time for all subscriptions."""
    process = psutil.Process(server.pid)
    async with AsyncExitStack() as stack:
        subprotocol = Subprotocol("graphql-transport-ws")
        socket = await stack.enter_async_context(
            connect(server.websocket, subprotocols=[subprotocol])
        )
        await socket.send('{"type": "connection_init"}')
        await receive(socket, "connection_ack", 1)
        for number in range(1, count + 1):
            query = f"subscription {{ getOrders(first: {number}) {{ date }} }}"
            message = {"type": "subscribe", "id": str(number), "payload": {"query": query}}
            await socket.send(json.dumps(message))
        await receive(socket, "next", count)
        writer = await psycopg.AsyncConnection.connect(url, autocommit=True)
        await stack.enter_async_context(writer)
        milliseconds = []
        await asyncio.sleep(2)
        before = sum(process.cpu_times()[:2])
        for _ in range(CHANGES):
            await writer.execute(CHANGE)
            committed = perf_counter()
            await receive(socket, "next", count)
            milliseconds.append((perf_counter() - committed) * 1000)
            await asyncio.sleep(PAUSE_SECONDS)
        cpu = sum(process.cpu_times()[:2]) - before
    return Cost(statistics.median(milliseconds), max(milliseconds), cpu * 1000 / CHANGES)


async def receive(socket: ClientConnection, kind: str, count: int) -> None:
    """Wait for so many messages of a kind, and answer pings."""
    while count:
        message = json.loads(await socket.recv())
        if message["type"] == "ping":
            await socket.send('{"type": "pong"}')
        elif message["type"] == kind:
            count -= 1
        else:
            raise RuntimeError(f"Expected {kind}, but {message} came.")


@contextmanager
def replicas(primary: PostgreSQL, delay: str | None) -> Iterator[list[Standby]]:
    """One replica that applies commits so late, or none."""
    if delay is None:
        yield []
    else:
        with standby(primary, recovery_min_apply_delay=delay) as found:
            yield [found]


def main() -> None:
    """Print a line for each arm and number of subscriptions."""
    database = "live"
    with PostgreSQL() as primary, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        url = primary.url(database)
        environment = os.environ | {"DATABASE_URL": url, "DEBUG": "true"}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        with psycopg.connect(url) as connection:
            connection.execute(FIRST)
        print("replicas           subscriptions   median ms   worst ms   server CPU ms a change")
        for name, delay in ARMS.items():
            with replicas(primary, delay) as found:
                urls = ",".join(each.url(database) for each in found)
                settings = {"DEBUG": "true", "OPEN_ACCESS": "true", "DATABASE_REPLICA_URLS": urls}
                with ProjectServer(Path(folder) / "log", url, **settings) as server:
                    if found:
                        server.wait_for_log("sources read there")
                    for count in SUBSCRIPTIONS:
                        cost = asyncio.run(measure(server, url, count))
                        print(
                            f"{name:<18} {count:>13} {cost.median_ms:>11.1f} {cost.worst_ms:>10.1f}"
                            f" {cost.cpu_ms:>24.2f}"
                        )
            (Path(folder) / "log").unlink()


if __name__ == "__main__":
    main()
