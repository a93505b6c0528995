"""Measure one server that answers `getOrders` over HTTP."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.accounts import Viewer, users
from benchmarks.arms import Arm
from benchmarks.database import INSERT_ORDER, PostgreSQLDatabase
from benchmarks.requesters import ask
from benchmarks.servers import Server

QUERIES: Final = "queries"
"""The section of the results for queries of nobody in particular."""
VIEWER_QUERIES: Final = "viewer queries"
"""And for those of viewers who have signed in."""
ORDERS: Final = (1, 50)
ROWS: Final = 200

Found = tuple[dict[str, int], dict[str, float]]
"""A situation, and its figures."""


def measure(
    arm: Arm, database: PostgreSQLDatabase, clients: Sequence[int], seconds: float, folder: Path
) -> Iterator[Found]:
    """Ask one server with each number of orders and clients."""
    database.reset()
    _fill(database)
    with Server(arm, database, folder / f"{arm.name}-queries.log") as server:
        yield from _ask(server, ORDERS, clients, seconds)


def measure_viewers(
    arm: Arm, database: PostgreSQLDatabase, clients: Sequence[int], seconds: float, folder: Path
) -> Iterator[Found]:
    """The same where each client is a viewer, who asks for the one order of their own."""
    database.reset_for(users(max(clients)))
    log = folder / f"{arm.name}-viewer-queries.log"
    with Server(arm, database, log, {"OPEN_ACCESS": "false"}) as server:
        viewers = [Viewer(user) for user in users(max(clients))]
        yield from _ask(server, (1,), clients, seconds, viewers)


def _ask(
    server: Server,
    numbers_of_orders: Sequence[int],
    clients: Sequence[int],
    seconds: float,
    viewers: Sequence[Viewer] = (),
) -> Iterator[Found]:
    ask(server.port, 4, max(numbers_of_orders), 1, viewers)
    for orders in numbers_of_orders:
        for number in clients:
            cpu = server.cpu_seconds()
            answers = ask(server.port, number, orders, seconds, viewers)
            count = len(answers.latencies)
            figures = {
                "requests_a_second": count / answers.seconds,
                "request_us": (server.cpu_seconds() - cpu) / count * 1e6,
                "p50_ms": answers.latencies[count // 2] * 1e3,
                "p99_ms": answers.latencies[int(count * 0.99)] * 1e3,
            }
            yield {"orders": orders, "clients": number}, figures


def _fill(database: PostgreSQLDatabase) -> None:
    rows = [("2000-01-01",)] * (ROWS - 1)
    with psycopg.connect(database.writer_url) as postgresql, postgresql.cursor() as cursor:
        cursor.executemany(INSERT_ORDER.format("%s"), rows)
