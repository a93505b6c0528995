"""Start several workers, put them under one load together, and read what it took of whom."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Literal

from benchmarks import machine
from benchmarks.accounts import Viewer, users
from benchmarks.arms import OURS
from benchmarks.database import PostgreSQLDatabase
from benchmarks.delivery import quantile
from benchmarks.servers import Server
from benchmarks.workers.crowds import Crowd, crowd
from benchmarks.writer import Writer

PATIENCE_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 6.0
WARM_UP_CHANGES: Final = 20

Kind = Literal["equal", "own", "all", "elsewhere"]
"""Whether all ask the same; or each for rows of their own, of which one changes, or all do, or only
those of somebody who is not there."""
ABSENT_USER: Final = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What so many workers are put under."""

    kind: Kind
    workers: int
    subscribers: int
    changes: int
    changes_a_second: float


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured; all workers together, and all processes of the database."""

    kind: Kind
    workers: int
    subscribers: int
    changes_a_second: float
    change_ms: float
    """Processor time of the workers for one change, without what they take when idle."""
    database_ms: float
    """The same of the database."""
    idle_share: float
    """Of one processor, while nothing changes."""
    memory_kb: float
    """For each subscriber."""
    p50_ms: float
    p99_ms: float
    last_ms: float
    """Until the last has it whom a change concerns, in the middle of the changes."""
    lost: int


def measure(database: PostgreSQLDatabase, writer: Writer, load: Load, folder: Path) -> Point:
    """Run so many workers under the load, from start to end."""
    database.reset()
    viewers = [] if load.kind == "equal" else [Viewer(user) for user in users(load.subscribers)]
    if viewers:
        database.reset_for(users(load.subscribers))
    writer.begin()
    with ExitStack() as running:
        settings = {"OPEN_ACCESS": "true" if load.kind == "equal" else "false"}
        servers = [
            running.enter_context(
                Server(
                    OURS,
                    database,
                    folder / f"worker-{number}.log",
                    settings,
                    processors=machine.all_processors(),
                )
            )
            for number in range(load.workers)
        ]
        # Those whom a proxy would spread evenly.
        crowds = [
            running.enter_context(crowd(server.port, viewers[number :: load.workers]))
            for number, server in enumerate(servers)
        ]
        return _Measurement(database, writer, load, servers, crowds, viewers).run()


class _Measurement:
    def __init__(
        self,
        database: PostgreSQLDatabase,
        writer: Writer,
        load: Load,
        servers: Sequence[Server],
        crowds: Sequence[Crowd],
        viewers: Sequence[Viewer],
    ) -> None:
        self._database, self._writer, self._load = database, writer, load
        self._servers, self._crowds, self._viewers = servers, crowds, viewers
        self._random = random.Random(load.subscribers)

    def run(self) -> Point:
        load = self._load
        before = self._memory_bytes()
        shares = [
            len(range(number, load.subscribers, load.workers)) for number in range(load.workers)
        ]
        for each, share in zip(self._crowds, shares, strict=True):
            each.connect(share, PATIENCE_SECONDS + load.subscribers / 100)
        for each in self._crowds:
            each.wait()
        self._change(WARM_UP_CHANGES, 20)
        time.sleep(OURS.settle_seconds)
        idle = self._used_in(IDLE_SECONDS)
        memory = self._memory_bytes() - before
        began, cpu, database = time.monotonic(), self._cpu_seconds(), self._database.cpu_seconds()
        latencies = self._change(load.changes, load.changes_a_second)
        seconds = time.monotonic() - began
        change = (self._cpu_seconds() - cpu) / load.changes
        used = _since(self._database.cpu_seconds(), database) / load.changes
        every = sorted(each for one in latencies for each in one)
        concerned = {"own": 1, "elsewhere": 0}.get(load.kind, load.subscribers)
        return Point(
            kind=load.kind,
            workers=load.workers,
            subscribers=load.subscribers,
            changes_a_second=load.changes_a_second,
            change_ms=(change - idle[0] * seconds / load.changes) * 1e3,
            database_ms=(used - idle[1] * seconds / load.changes) * 1e3,
            idle_share=idle[0],
            memory_kb=memory / load.subscribers / 1024,
            p50_ms=quantile(every, 0.5) if concerned else 0.0,
            p99_ms=quantile(every, 0.99) if concerned else 0.0,
            last_ms=median(
                max(one, default=PATIENCE_SECONDS * 1e3 if concerned else 0.0) for one in latencies
            ),
            lost=load.changes * concerned - len(every),
        )

    def _change(self, number: int, pace: float) -> list[list[float]]:
        """Write, until everybody has what concerns them: for each change how long that took."""
        concerned: list[int] = []
        expected: bytes | Mapping[int, bytes]
        for each in self._crowds:
            each.begin()
        match self._load.kind:
            case "equal":
                expected = self._writer.start(number, pace)
            case "own":
                concerned = [self._random.choice(self._viewers).user_id for _ in range(number)]
                days = self._writer.start_for(concerned, pace)
                expected = dict(zip(concerned, days, strict=True))
            case "all":
                expected = self._writer.start_for_all()
            case "elsewhere":
                self._writer.start_for([ABSENT_USER] * number, pace)
                expected = {}
        for each in self._crowds:
            each.expect(expected)
        changes = self._writer.changes()
        for each in self._crowds:
            each.settle(PATIENCE_SECONDS)
        for each in self._crowds:
            each.wait()
        found = [each.latencies(changes, concerned) for each in self._crowds]
        return [[each for part in parts for each in part] for parts in zip(*found, strict=True)]

    def _used_in(self, seconds: float) -> tuple[float, float]:
        cpu, database, began = self._cpu_seconds(), self._database.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        used = _since(self._database.cpu_seconds(), database)
        return (self._cpu_seconds() - cpu) / took, used / took

    def _cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server in self._servers)

    def _memory_bytes(self) -> int:
        return sum(server.memory_bytes() for server in self._servers)


def _since(now: Mapping[int, float], before: Mapping[int, float]) -> float:
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in now.items())


def loads(*, is_quick: bool) -> Iterator[Load]:
    """All that is measured; neighbours differ in the number of workers only."""
    if is_quick:
        for workers in (1, 2):
            yield Load("equal", workers, 100, 5, 5)
            yield Load("own", workers, 50, 20, 20)
            yield Load("elsewhere", workers, 50, 20, 20)
        return
    for workers in (1, 2, 4):
        yield Load("equal", workers, 4000, 20, 2)
    for pace in (50, 500):
        for workers in (1, 2, 4):
            yield Load("own", workers, 1000, pace * 4, pace)
    for pace in (50, 1000):
        for workers in (1, 4):
            yield Load("elsewhere", workers, 100, pace * 5, pace)
    for workers in (1, 2):
        yield Load("all", workers, 1000, 1, 1)
    # What the model has to foretell from all that is above.
    yield Load("equal", 4, 20_000, 20, 2)
    yield Load("own", 4, 4000, 600, 150)
