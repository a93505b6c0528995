"""Measure one arm: connect subscribers, leave them alone, change something, and watch."""

import time
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.arms import Arm
from benchmarks.database import Database, Statements
from benchmarks.servers import Server
from benchmarks.subscribers import Subscribers
from benchmarks.writer import Change, writer

WARM_UP_SUBSCRIBERS = 20
WARM_UP_CHANGES = 5
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Load:
    """What an arm has to cope with."""

    subscribers: int
    changes: int
    changes_a_second: float
    idle_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was measured; each figure is explained in the report."""

    connect_us: float
    memory_kb: float
    idle_share: float
    idle_statements_a_second: float | None
    message_us: float
    busy_share: float
    messages: int
    statements_a_change: float | None
    queries_a_change: float | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    last_ms: float
    lost: int


def measure(arm: Arm, database: Database, load: Load, folder: Path) -> Delivery:
    """Run the arm's server under the load, from start to end."""
    database.reset()
    with (
        Server(arm, database, folder / f"{arm.name}.log") as server,
        writer(database.writer_url) as changing,
    ):
        with Subscribers(server.port, "/graphql/", arm.subprotocol) as crowd:
            crowd.connect(WARM_UP_SUBSCRIBERS, PATIENCE_SECONDS)
            crowd.expect(changing.start(WARM_UP_CHANGES, 20))
            crowd.run(lambda: changing.is_done() and crowd.are_all_up_to_date(), PATIENCE_SECONDS)
            changing.changes()
        time.sleep(0.2)

        with Subscribers(server.port, "/graphql/", arm.subprotocol) as crowd:
            memory, cpu = server.memory_bytes(), server.cpu_seconds()
            crowd.connect(load.subscribers, 20 + load.subscribers / 100)
            connect_cpu = server.cpu_seconds() - cpu

            crowd.listen(0.3)
            cpu, statements, began = server.cpu_seconds(), database.statements(), time.monotonic()
            crowd.listen(load.idle_seconds)
            idle_seconds = time.monotonic() - began
            idle_cpu = server.cpu_seconds() - cpu
            idle_statements = _since(database, statements)
            memory = server.memory_bytes() - memory

            crowd.forget()
            cpu, statements, began = server.cpu_seconds(), database.statements(), time.monotonic()
            crowd.expect(changing.start(load.changes, load.changes_a_second))
            crowd.run(
                lambda: changing.is_done() and crowd.are_all_up_to_date(),
                load.changes / load.changes_a_second + PATIENCE_SECONDS,
            )
            busy_seconds = time.monotonic() - began
            busy_cpu = server.cpu_seconds() - cpu
            changes = changing.changes()
            time.sleep(0.1)
            busy_statements = _since(database, statements)

            latencies = [
                latency for each in crowd for latency in _latencies(each.seen, changes)
            ]
            expected = load.subscribers * load.changes
            latencies.sort()
            lasts = _lasts(crowd, changes)
            return Delivery(
                connect_us=connect_cpu / load.subscribers * 1e6,
                memory_kb=memory / load.subscribers / 1024,
                idle_share=idle_cpu / idle_seconds,
                idle_statements_a_second=idle_statements and idle_statements.all / idle_seconds,
                message_us=busy_cpu / max(1, crowd.messages) * 1e6,
                busy_share=busy_cpu / busy_seconds,
                messages=crowd.messages,
                statements_a_change=busy_statements and busy_statements.all / load.changes,
                queries_a_change=busy_statements and busy_statements.on_orders / load.changes,
                p50_ms=_quantile(latencies, 0.50),
                p95_ms=_quantile(latencies, 0.95),
                p99_ms=_quantile(latencies, 0.99),
                last_ms=_quantile(sorted(lasts), 0.5),
                lost=expected - len(latencies),
            )


def _since(database: Database, earlier: Statements | None) -> Statements | None:
    now = database.statements()
    return now.since(earlier) if now and earlier else None


def _latencies(seen: list[tuple[int, bytes]], changes: list[Change]) -> list[float]:
    """For each change, how long until this subscriber had its state or a later one, in ms."""
    newest = list(accumulate((day for _, day in seen), max))
    found = []
    for change in changes:
        index = bisect_left(newest, change.day)
        if index < len(newest):
            found.append((seen[index][0] - change.sent_ns) / 1e6)
    return found


def _lasts(crowd: Subscribers, changes: list[Change]) -> list[float]:
    by_change = zip(*(_latencies(each.seen, changes) for each in crowd), strict=False)
    return [max(each) for each in by_change]


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
