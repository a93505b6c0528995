"""Measure one arm: connect subscribers, leave them alone, change something, and watch."""

import time
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

from benchmarks.arms import Arm
from benchmarks.database import Database, Statements
from benchmarks.servers import Server
from benchmarks.subscribers import Subscribers
from benchmarks.writer import Change, Writer

WARM_UP_SUBSCRIBERS = 20
WARM_UP_CHANGES = 5
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What an arm has to cope with."""

    subscribers: int
    changes: int
    changes_a_second: float
    idle_seconds: float = 1.0
    is_distinct: bool = False
    """Whether each subscriber asks something that nobody else does."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was measured; METHOD.md explains each figure."""

    connect_us: float
    memory_kb: float
    idle_share: float
    idle_statements_a_second: float | None
    message_us: float
    client_us: float
    busy_share: float
    messages_a_change: float
    statements_a_change: float | None
    queries_a_change: float | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    last_ms: float
    lost: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used of processor and database while some time passed."""

    seconds: float
    cpu_seconds: float
    statements: Statements | None

    def statements_through(self, divisor: float) -> float | None:
        """All statements, divided."""
        return None if self.statements is None else self.statements.all / divisor

    def queries_through(self, divisor: float) -> float | None:
        """The statements that read orders, divided."""
        return None if self.statements is None else self.statements.on_orders / divisor


class Meter:
    """Reads what a server uses between two moments."""

    def __init__(self, server: Server, database: Database) -> None:
        self._server = server
        self._database = database
        self._statements = database.statements()
        self._cpu_seconds, self._began = server.cpu_seconds(), time.monotonic()

    def read(self) -> Usage:
        """What was used since the start."""
        seconds = time.monotonic() - self._began
        cpu_seconds = self._server.cpu_seconds() - self._cpu_seconds
        return Usage(seconds, cpu_seconds, _since(self._database, self._statements))


def measure(arm: Arm, database: Database, changing: Writer, load: Load, folder: Path) -> Delivery:
    """Run the arm's server under the load, from start to end."""
    database.reset()
    changing.begin()
    log = folder / f"{arm.name}.log"
    with database.announcing(arm.announces), Server(arm, database, log) as server:
        _warm_up(server, arm, changing)
        with Subscribers(server.port, arm.subprotocol, is_distinct=load.is_distinct) as crowd:
            memory, meter = server.memory_bytes(), Meter(server, database)
            crowd.connect(load.subscribers, 20 + load.subscribers / 100)
            connecting = meter.read()

            crowd.listen(0.3)
            meter = Meter(server, database)
            crowd.listen(load.idle_seconds)
            idle, memory = meter.read(), server.memory_bytes() - memory

            crowd.forget()
            meter = Meter(server, database)
            client_began = time.process_time()
            crowd.expect(changing.start(load.changes, load.changes_a_second))
            crowd.run(
                lambda: changing.is_done() and crowd.are_all_up_to_date(),
                load.changes / load.changes_a_second + PATIENCE_SECONDS,
            )
            busy, changes = meter.read(), changing.changes()
            client_seconds = time.process_time() - client_began
            found = [latencies(each.seen, changes) for each in crowd]
    every = sorted(latency for each in found for latency in each.values())
    return Delivery(
        connect_us=connecting.cpu_seconds / load.subscribers * 1e6,
        memory_kb=memory / load.subscribers / 1024,
        idle_share=idle.cpu_seconds / idle.seconds,
        idle_statements_a_second=idle.statements_through(idle.seconds),
        message_us=busy.cpu_seconds / max(1, crowd.messages) * 1e6,
        client_us=client_seconds / max(1, crowd.messages) * 1e6,
        busy_share=busy.cpu_seconds / busy.seconds,
        messages_a_change=crowd.messages / load.changes / load.subscribers,
        statements_a_change=busy.statements_through(load.changes),
        queries_a_change=busy.queries_through(load.changes),
        p50_ms=quantile(every, 0.50),
        p95_ms=quantile(every, 0.95),
        p99_ms=quantile(every, 0.99),
        last_ms=median(
            max((each.get(change.day, 0.0) for each in found), default=0.0) for change in changes
        ),
        lost=load.subscribers * load.changes - len(every),
    )


def _warm_up(server: Server, arm: Arm, changing: Writer) -> None:
    with Subscribers(server.port, arm.subprotocol) as crowd:
        crowd.connect(WARM_UP_SUBSCRIBERS, PATIENCE_SECONDS)
        crowd.expect(changing.start(WARM_UP_CHANGES, 20))
        crowd.run(lambda: changing.is_done() and crowd.are_all_up_to_date(), PATIENCE_SECONDS)
        changing.changes()
    time.sleep(0.2)


def _since(database: Database, earlier: Statements | None) -> Statements | None:
    now = database.statements()
    return now.since(earlier) if now and earlier else None


def latencies(seen: list[tuple[int, bytes]], changes: list[Change]) -> dict[bytes, float]:
    """For each change, how long until this subscriber had its state or a later one, in ms."""
    newest = list(accumulate((day for _, day in seen), max))
    found = {}
    for change in changes:
        index = bisect_left(newest, change.day)
        if index < len(newest):
            found[change.day] = (seen[index][0] - change.sent_ns) / 1e6
    return found


def quantile(ordered: list[float], share: float) -> float:
    """The latency below which this share of them is."""
    # Where nothing arrived, the latency is at least as long as we waited.
    if not ordered:
        return PATIENCE_SECONDS * 1e3
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
