"""What a run measures, in which order: round by round, all arms in turn."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import accounts, delay, delivery, machine, orm, queries, viewers, writers
from benchmarks.arms import Arm
from benchmarks.attacking import Attacking
from benchmarks.attacks import PEOPLE
from benchmarks.database import (
    Database,
    PostgreSQLDatabase,
    SQLiteDatabase,
    Vendor,
    databases,
)
from benchmarks.delivery import Load
from benchmarks.queries import QUERIES, VIEWER_QUERIES
from benchmarks.queries import Found as Queried
from benchmarks.results import Results, Situation
from benchmarks.scale import Deliveries, Scale
from benchmarks.subscribers import ClientError
from benchmarks.viewing import BACK, OWN, ViewerLoad
from benchmarks.writer import Writer, writer

HELD_MS: Final = 1000.0
GREATEST: Final = 10_000
NEXT_SMALLER: Final = 3_000

ATTACK_ROUNDS: Final = 1

SECTIONS: Final = ("delivery", "viewers", "orm", "queries", "writers", "attacks")

Step = tuple[str, Callable[[], str]]
"""What is about to be measured, and a function that does it and tells the main figure."""


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

    def steps(self, only: str | None = None) -> list[Step]:
        """Everything, or one of `SECTIONS`, in order.

        Neighbours are of different arms, so that noise hits all alike.
        """
        every: list[Step] = []
        for number in range(self._scale.rounds):
            # Turned each time: nobody is always the first or the last.
            sections = {
                "delivery": self._deliveries(number),
                "viewers": self._viewers(number),
                "orm": self._orm(),
                "queries": self._queries(),
                "writers": self._writers(),
                "attacks": self._attacks(number),
            }
            for name, section in sections.items():
                steps = list(section) if only in (None, name) else []
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

    def _viewers(self, number: int) -> Iterator[Step]:
        for each in self._scale.viewings:
            if number < each.max_rounds:
                for arm in each.arms:
                    label = f"{each.load.viewers} viewers: {arm.title}"
                    yield label, partial(self._view, each.load, arm)

    def _view(self, load: ViewerLoad, arm: Arm) -> str:
        told = []
        writer = self._writing["postgresql"]
        try:
            for section, case, figures in viewers.measure(
                arm, self._postgresql, writer, load, self._folder
            ):
                self.results.add(section, case, figures)
                told.append(_in_short(section, case, figures))
        except ClientError as error:
            told.append(str(error))
        return ", ".join(told)

    def _orm(self) -> Iterator[Step]:
        for latency in self._scale.orm_latencies_ms:
            for arm in self._scale.orm_arms:
                label = f"ORM, database at {latency} ms: {orm.ARMS[arm]}"
                yield label, partial(self._ask_orm, arm, latency)

    def _ask_orm(self, arm: str, latency: int) -> str:
        pace = 0.0
        for callers, figures in orm.measure(
            arm, self._postgresql, self._sockets[latency], self._scale.orm_seconds
        ):
            case: Situation = {"arm": arm, "latency_ms": latency, "callers": callers}
            self.results.add("orm", case, figures)
            pace = figures["queries_a_second"]
        return f"{pace:.0f} queries a second"

    def _queries(self) -> Iterator[Step]:
        for arm in self._scale.query_arms:
            measure = partial(queries.measure, arm)
            yield f"queries over HTTP: {arm.title}", partial(self._query, QUERIES, arm, measure)
        for arm in self._scale.viewer_query_arms:
            measure = partial(queries.measure_viewers, arm)
            label = f"viewers' queries over HTTP: {arm.title}"
            yield label, partial(self._query, VIEWER_QUERIES, arm, measure)

    def _query(self, section: str, arm: Arm, measure: Callable[..., Iterator[Queried]]) -> str:
        scale, pace = self._scale, 0.0
        for case, figures in measure(
            self._postgresql, scale.query_clients, scale.query_seconds, self._folder
        ):
            self.results.add(section, {"arm": arm.name, **case}, figures)
            pace = figures["requests_a_second"]
        return f"{pace:.0f} requests a second"

    def _writers(self) -> Iterator[Step]:
        for number in self._scale.writers:
            for feed in writers.FEEDS:
                label = f"{number} writers, {feed}"
                yield label, partial(self._write, number, feed)

        for feed in (writers.NO_TRIGGER, writers.OURS):
            label = f"statements of {writers.ROWS} rows, {feed}"
            yield label, partial(self._write_many_rows, feed)

    def _attacks(self, number: int) -> Iterator[Step]:
        if number < ATTACK_ROUNDS:
            attacking = Attacking(
                self._scale.attacks, self._databases, self._writing, self._folder, self.results
            )
            yield from attacking.steps()

    def _write_many_rows(self, feed: str) -> str:
        found = dict(writers.measure_statements(self._postgresql, feed))
        for statement, duration in found.items():
            case: Situation = {"feed": feed, "statement": statement}
            self.results.add("statements", case, {"duration_ms": duration})
        return ", ".join(f"{name} {value:.0f} ms" for name, value in found.items())

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


def _in_short(section: str, case: Situation, figures: Mapping[str, float | None]) -> str:
    if section == OWN:
        pace, cost = case["changes_a_second"], figures["change_ms"]
        return f"{cost:.1f} ms a change at {pace:g} a second"
    if section == BACK:
        return f"{figures['back_seconds']:.1f} s for all to come back"
    if "longest_probe_ms" in figures:
        return f"{figures['longest_probe_ms']:.0f} ms for a query meanwhile"
    if figures["lost"]:
        return f"{figures['lost']:g} lost when all are concerned"
    return f"{figures['last_ms']:.0f} ms for all"


def prepare(scale: Scale, running: ExitStack) -> Run:
    """Start what every step needs, until `running` is left."""
    folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
    postgresql, sqlite = running.enter_context(databases(folder))
    accounts.create(postgresql, max(each.load.viewers for each in scale.viewings))
    accounts.create(sqlite, len(PEOPLE))
    far = running.enter_context(delay.delayed(postgresql.folder, 0.005))
    writing: dict[Vendor, Writer] = {
        each.vendor: running.enter_context(writer(each.writer_url)) for each in (postgresql, sqlite)
    }
    return Run(scale, postgresql, sqlite, writing, far, folder)
