"""What a run measures, in which order: round by round, all arms in turn."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import delay, delivery, machine, orm, queries, writers
from benchmarks.arms import (
    ARMS,
    BARE,
    EXECUTING,
    GRAPHQL_WS,
    MERCURIUS,
    OURS,
    POLLING,
    PUBLISHED,
    SEED,
    STRAWBERRY,
    Arm,
)
from benchmarks.database import (
    Database,
    PostgreSQLDatabase,
    SQLiteDatabase,
    Vendor,
    databases,
)
from benchmarks.delivery import Load
from benchmarks.results import Results, Situation
from benchmarks.subscribers import ClientError
from benchmarks.writer import Writer, writer

HELD_MS: Final = 1000.0
GREATEST: Final = 10_000
NEXT_SMALLER: Final = 3_000

Step = tuple[str, Callable[[], str]]
"""What is about to be measured, and a function that does it and tells the main figure."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """One load, and the arms that are put under it."""

    database: Vendor
    load: Load
    arms: tuple[Arm, ...]
    max_rounds: int = 3
    is_main: bool = False
    """Whether the report shows all figures of this load."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    deliveries: tuple[Deliveries, ...]
    query_clients: tuple[int, ...]
    query_arms: tuple[Arm, ...]
    query_seconds: float
    orm_arms: tuple[str, ...]
    orm_latencies_ms: tuple[int, ...]
    orm_seconds: float
    writers: tuple[int, ...]
    writer_seconds: int
    is_quick: bool = False
    """Whether it is too little to say anything about speed."""


FASTEST: Final = (BARE, OURS, GRAPHQL_WS, MERCURIUS, PUBLISHED)

FULL: Final = Scale(
    rounds=3,
    deliveries=(
        Deliveries("postgresql", Load(1000, 9, 3), ARMS, is_main=True),
        Deliveries(
            "sqlite", Load(1000, 9, 3), (BARE, OURS, POLLING, SEED), max_rounds=2, is_main=True
        ),
        # By number of subscribers.
        Deliveries("postgresql", Load(10000, 5, 1, 0.3), (*FASTEST, STRAWBERRY), max_rounds=2),
        Deliveries("postgresql", Load(3000, 3, 1, 0.3), (*FASTEST, STRAWBERRY), max_rounds=1),
        Deliveries("postgresql", Load(1000, 3, 1, 0.3), FASTEST, max_rounds=2),
        Deliveries("postgresql", Load(100, 3, 1, 0.3), (*FASTEST, SEED), max_rounds=2),
        Deliveries("postgresql", Load(1, 3, 1, 0.3), (*FASTEST, SEED), max_rounds=2),
        # By number of changes.
        Deliveries("postgresql", Load(1000, 60, 50, 0.3), FASTEST, max_rounds=2),
        Deliveries(
            "postgresql",
            Load(300, 4, 1, 0.3, is_distinct=True),
            (OURS, GRAPHQL_WS, PUBLISHED, EXECUTING),
            max_rounds=2,
        ),
    ),
    query_clients=(1, 10, 100),
    query_arms=(OURS, POLLING, STRAWBERRY),
    query_seconds=1.0,
    orm_arms=tuple(orm.arms()),
    orm_latencies_ms=orm.LATENCIES_MS,
    orm_seconds=0.6,
    writers=(1, 8, 64),
    writer_seconds=2,
)
QUICK: Final = Scale(
    rounds=1,
    deliveries=(
        Deliveries(
            "postgresql",
            Load(100, 5, 5, 0.3),
            (BARE, OURS, GRAPHQL_WS, PUBLISHED, SEED),
            is_main=True,
        ),
        Deliveries("sqlite", Load(100, 5, 5, 0.3), (OURS,), is_main=True),
    ),
    query_clients=(10,),
    query_arms=(OURS, POLLING),
    query_seconds=0.3,
    orm_arms=("django_alast", "ours"),
    orm_latencies_ms=(0,),
    orm_seconds=0.3,
    writers=(8,),
    writer_seconds=1,
    is_quick=True,
)


class Run:
    """A run in progress: its databases, and what it has found."""

    def __init__(
        self,
        scale: Scale,
        postgresql: PostgreSQLDatabase,
        sqlite: SQLiteDatabase,
        writing: dict[Vendor, Writer],
        far: Path,
        folder: Path,
    ) -> None:
        self.results = Results(
            {
                "machine": machine.description(),
                "versions": machine.versions()
                | {"postgresql": postgresql.version, "sqlite": sqlite.version},
                "rounds": scale.rounds,
                "connections": orm.CONNECTIONS,
                "is_quick": scale.is_quick,
            }
        )
        self._scale = scale
        self._databases: dict[Vendor, Database] = {"postgresql": postgresql, "sqlite": sqlite}
        self._writing = writing
        self._postgresql = postgresql
        self._sockets = {0: postgresql.folder, 5: far}
        self._folder = folder
        # The greatest numbers of subscribers take long: who fails at the greatest is not asked
        # again, and who holds it is not asked for the next smaller one.
        self._failed: set[str] = set()
        self._holds: set[str] = set()

    def steps(self) -> list[Step]:
        """Everything, in order; neighbours are of different arms, so that noise hits all alike."""
        every: list[Step] = []
        for number in range(self._scale.rounds):
            # Turned each time: nobody is always the first or the last.
            sections = (self._deliveries(number), self._orm(), self._queries(), self._writers())
            for section in sections:
                steps = list(section)
                every += steps if number % 2 == 0 else steps[::-1]
        return every

    def _deliveries(self, number: int) -> Iterator[Step]:
        for each in self._scale.deliveries:
            if number >= each.max_rounds:
                continue
            load = each.load
            for arm in each.arms:
                label = (
                    f"{each.database}, {load.subscribers}{' distinct' * load.is_distinct} "
                    f"subscribers, {load.changes_a_second:g} changes a second: {arm.title}"
                )
                yield label, partial(self._deliver, each, arm)

    def _deliver(self, deliveries: Deliveries, arm: Arm) -> str:
        load, database = deliveries.load, self._databases[deliveries.database]
        case: Situation = {
            "arm": arm.name,
            "database": deliveries.database,
            "subscribers": load.subscribers,
            "changes_a_second": load.changes_a_second,
            "is_main": int(deliveries.is_main),
            "is_distinct": int(load.is_distinct),
        }
        if load.subscribers == GREATEST and arm.name in self._failed:
            return "left out, since it failed before"
        if load.subscribers == NEXT_SMALLER and arm.name in self._holds:
            return f"left out, since it holds {GREATEST}"
        writer = self._writing[deliveries.database]
        try:
            found = delivery.measure(arm, database, writer, load, self._folder)
        except ClientError as error:
            self._note(arm, load, is_held=False)
            self.results.add("delivery", case, {"is_held": 0})
            return str(error)
        is_held = found.lost == 0 and found.p99_ms < HELD_MS
        self._note(arm, load, is_held=is_held)
        self.results.add("delivery", case, asdict(found) | {"is_held": float(is_held)})
        return f"{found.message_us:.0f} µs a message, p99 {found.p99_ms:.0f} ms"

    def _note(self, arm: Arm, load: Load, *, is_held: bool) -> None:
        if load.subscribers == GREATEST:
            (self._holds if is_held else self._failed).add(arm.name)

    def _orm(self) -> Iterator[Step]:
        for latency in self._scale.orm_latencies_ms:
            for arm in self._scale.orm_arms:
                label = f"ORM, database at {latency} ms: {orm.ARMS[arm]}"
                yield label, partial(self._ask_orm, arm, latency)

    def _ask_orm(self, arm: str, latency: int) -> str:
        pace = 0.0
        for callers, figures in orm.measure(arm, self._sockets[latency], self._scale.orm_seconds):
            case: Situation = {"arm": arm, "latency_ms": latency, "callers": callers}
            self.results.add("orm", case, figures)
            pace = figures["queries_a_second"]
        return f"{pace:.0f} queries a second"

    def _queries(self) -> Iterator[Step]:
        for arm in self._scale.query_arms:
            yield f"queries over HTTP: {arm.title}", partial(self._query, arm)

    def _query(self, arm: Arm) -> str:
        scale, pace = self._scale, 0.0
        for case, figures in queries.measure(
            arm, self._postgresql, scale.query_clients, scale.query_seconds, self._folder
        ):
            self.results.add("queries", {"arm": arm.name, **case}, figures)
            pace = figures["requests_a_second"]
        return f"{pace:.0f} requests a second"

    def _writers(self) -> Iterator[Step]:
        for number in self._scale.writers:
            for feed in writers.FEEDS:
                label = f"{number} writers, {feed}"
                yield label, partial(self._write, number, feed)

    def _write(self, number: int, feed: str) -> str:
        self._postgresql.use(machine.all_processors())
        try:
            with machine.pinned(machine.all_processors()):
                figures = writers.measure(
                    self._postgresql, feed, number, self._scale.writer_seconds, self._folder
                )
        finally:
            self._postgresql.use(machine.other_processors())
        self.results.add("writers", {"feed": feed, "writers": number}, figures)
        return f"{figures['commits_a_second']:.0f} commits a second"


def prepare(scale: Scale, running: ExitStack) -> Run:
    """Start what every step needs, until `running` is left."""
    folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
    postgresql, sqlite = running.enter_context(databases(folder))
    far = running.enter_context(delay.delayed(postgresql.folder, 0.005))
    writing: dict[Vendor, Writer] = {
        each.vendor: running.enter_context(writer(each.writer_url)) for each in (postgresql, sqlite)
    }
    return Run(scale, postgresql, sqlite, writing, far, folder)
