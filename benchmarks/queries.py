"""Measure one server that answers `getOrders` over HTTP."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

from benchmarks.arms import Arm
from benchmarks.database import INSERT_ORDER, Database
from benchmarks.requesters import ask
from benchmarks.servers import Server

ORDERS = (1, 50)
ROWS = 200


def measure(
    arm: Arm, database: Database, clients: tuple[int, ...], seconds: float, folder: Path
) -> list[tuple[dict[str, int], dict[str, float]]]:
    """Ask one server with each number of orders and clients: the situations and their figures."""
    database.reset()
    _fill(database)
    found = []
    with Server(arm, database, folder / f"{arm.name}-queries.log") as server:
        ask(server.port, 4, 50, 0.3)
        for orders in ORDERS:
            for number in clients:
                cpu = server.cpu_seconds()
                answers = ask(server.port, number, orders, seconds)
                count = len(answers.latencies)
                figures = {
                    "requests_a_second": count / answers.seconds,
                    "request_us": (server.cpu_seconds() - cpu) / count * 1e6,
                    "p50_ms": answers.latencies[count // 2] * 1e3,
                    "p99_ms": answers.latencies[int(count * 0.99)] * 1e3,
                }
                found.append(({"orders": orders, "clients": number}, figures))
    return found


def _fill(database: Database) -> None:
    rows = [("2000-01-01",)] * (ROWS - 1)
    if database.vendor == "sqlite":
        path = database.writer_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=5)) as sqlite, sqlite:
            sqlite.executemany(INSERT_ORDER.format("?"), rows)
        return
    with psycopg.connect(database.writer_url) as postgresql, postgresql.cursor() as cursor:
        cursor.executemany(INSERT_ORDER.format("%s"), rows)
