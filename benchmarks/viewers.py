"""Measure one arm with viewers who see only their own: a change concerns one of them, then all."""

import random
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import coming_back
from benchmarks.accounts import Viewer, users
from benchmarks.arms import OURS, Arm
from benchmarks.database import PostgreSQLDatabase
from benchmarks.delivery import PATIENCE_SECONDS, Meter, Usage, latencies, quantile
from benchmarks.probe import Probe, probe
from benchmarks.results import Situation
from benchmarks.servers import Server
from benchmarks.subscribers import Subscribers
from benchmarks.viewing import (
    BACK,
    OWN,
    SHARED,
    Found,
    OwnChanges,
    QueriesMeanwhile,
    SharedChanges,
    ViewerLoad,
)
from benchmarks.writer import Change, Writer

WARM_UP_VIEWERS: Final = 20
SIGN_INS: Final = 5
AFTERWARDS_SECONDS: Final = 0.3
"""How long what a change has caused still counts, when those whom it concerns have theirs."""
PROBE_SECONDS: Final = 1.0


def measure(
    arm: Arm, database: PostgreSQLDatabase, changing: Writer, load: ViewerLoad, folder: Path
) -> Iterator[Found]:
    """Run the arm's server under the load: each situation when it has been measured.

    After the first that the arm cannot carry comes only what happens after a restart.
    """
    with database.announcing(arm.announces):
        database.reset_for(users(load.viewers))
        changing.begin()
        settings = {
            "OPEN_ACCESS": "false",
            "METRICS": "true",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / f"{arm.name}-metrics"),
        }
        with Server(arm, database, folder / f"{arm.name}-viewers.log", settings) as server:
            yield from _Measurement(arm, server, database, changing, load).run()
        if load.do_come_back:
            with Server(arm, database, folder / f"{arm.name}-back.log", settings) as server:
                found = coming_back.measure(arm, server, database, load.viewers)
            yield BACK, {"arm": arm.name, "viewers": load.viewers}, asdict(found)


class _Measurement:
    """The viewers of one server, while they are measured."""

    def __init__(
        self,
        arm: Arm,
        server: Server,
        database: PostgreSQLDatabase,
        changing: Writer,
        load: ViewerLoad,
    ) -> None:
        self._arm, self._server, self._database = arm, server, database
        self._changing, self._load = changing, load
        self._viewers = [Viewer(user) for user in users(load.viewers)]
        self._random = random.Random(load.viewers)
        self._connect_us = self._memory_kb = self._idle_share = 0.0
        self._sign_in_ms: float | None = None

    def run(self) -> Iterator[Found]:
        situation: Situation = {"arm": self._arm.name, "viewers": self._load.viewers}
        self._warm_up()
        with self._crowd() as crowd, probe(self._server.port, self._viewers[0]) as asking:
            self._connect(crowd)
            net_change_ms = 0.0
            for pace in self._load.paces:
                if net_change_ms * pace > 1000:  # More than one processor does in a second.
                    continue
                own = self._change_own(crowd, pace)
                yield OWN, situation | {"changes_a_second": pace}, asdict(own)
                if own.lost:
                    return
                net_change_ms = own.net_change_ms
            shared = self._change_shared(crowd)
            yield SHARED, situation, asdict(shared)
            if not shared.lost:
                yield SHARED, situation, asdict(self._query_meanwhile(crowd, asking))

    def _crowd(self) -> Subscribers:
        return Subscribers(self._server.port, self._arm.subprotocol, viewers=self._viewers)

    def _warm_up(self) -> None:
        number = min(WARM_UP_VIEWERS, len(self._viewers))
        with self._crowd() as crowd:
            crowd.connect(number, PATIENCE_SECONDS)
            self._write(crowd, [viewer.user_id for viewer in self._viewers[:number]], 20)
        time.sleep(self._arm.settle_seconds)

    def _connect(self, crowd: Subscribers) -> None:
        memory, meter = self._server.memory_bytes(), self._meter()
        crowd.connect(len(self._viewers), 20 + len(self._viewers) / 50)
        self._connect_us = meter.read().cpu_seconds / len(self._viewers) * 1e6
        crowd.listen(1)  # What connecting has left to be collected does not count.
        meter = self._meter()
        crowd.listen(self._load.idle_seconds)
        idle = meter.read()
        self._idle_share = idle.cpu_seconds / idle.seconds
        memory = self._server.memory_bytes() - memory
        self._memory_kb = memory / len(self._viewers) / 1024
        if self._arm is OURS:  # the only one that looks who is still signed in
            self._sign_in_ms = self._sign_in(crowd)

    def _sign_in(self, crowd: Subscribers) -> float:
        meter = self._meter()
        for _ in range(SIGN_INS):
            self._database.sign_in()
            crowd.listen(AFTERWARDS_SECONDS)
        used = meter.read()
        return (used.cpu_seconds - self._idle_share * used.seconds) / SIGN_INS * 1e3

    def _meter(self) -> Meter:
        return Meter(self._server, self._database)

    def _write(
        self, crowd: Subscribers, concerned: list[int], pace: float
    ) -> tuple[Usage, dict[int, list[Change]]]:
        """Write an order for each of the users: what it took, and each user's changes."""
        crowd.forget()
        meter = self._meter()
        days = self._changing.start_for(concerned, pace)
        crowd.expect_of_each(dict(zip(concerned, days, strict=True)))
        crowd.run(
            lambda: self._changing.is_done() and crowd.are_all_up_to_date(),
            len(concerned) / pace + PATIENCE_SECONDS,
        )
        crowd.listen(AFTERWARDS_SECONDS)
        used, changes = meter.read(), defaultdict(list)
        for user, change in zip(concerned, self._changing.changes(), strict=True):
            changes[user].append(change)
        return used, changes

    def _change_own(self, crowd: Subscribers, pace: float) -> OwnChanges:
        number = round(pace * self._load.seconds)
        concerned = [self._random.choice(self._viewers).user_id for _ in range(number)]
        executions = _executions(self._server, self._arm)
        used, changes = self._write(crowd, concerned, pace)
        if executions is not None:
            executions = (_executions(self._server, self._arm) or 0.0) - executions
        found, surplus = _compare(crowd, changes)
        return OwnChanges(
            connect_us=self._connect_us,
            memory_kb=self._memory_kb,
            idle_share=self._idle_share,
            sign_in_ms=self._sign_in_ms,
            change_ms=used.cpu_seconds / number * 1e3,
            net_change_ms=(used.cpu_seconds - self._idle_share * used.seconds) / number * 1e3,
            p50_ms=quantile(found, 0.50),
            p99_ms=quantile(found, 0.99),
            queries_a_change=used.queries_through(number),
            executions_a_change=None if executions is None else executions / number,
            to_others=surplus,
            lost=number - len(found),
        )

    def _change_shared(self, crowd: Subscribers) -> SharedChanges:
        used, found, surplus = [], [], 0
        for _ in range(self._load.shared_changes):
            usage, arrivals, more = self._change_all(crowd)
            used.append(usage)
            found.append(arrivals)
            surplus += more
        expected = len(used) * len(self._viewers)
        lost = expected - sum(map(len, found))
        cpu_seconds = sum(each.cpu_seconds for each in used)
        return SharedChanges(
            last_ms=None if lost else median(each[-1] for each in found),
            viewer_us=None if lost else cpu_seconds / expected * 1e6,
            queries_a_viewer=sum(each.queries_through(expected) or 0 for each in used),
            to_others=surplus,
            lost=lost,
        )

    def _query_meanwhile(self, crowd: Subscribers, asking: Probe) -> QueriesMeanwhile:
        asking.start()
        crowd.listen(PROBE_SECONDS)
        usual = asking.stop()
        asking.start()
        self._change_all(crowd)
        meanwhile = asking.stop()
        return QueriesMeanwhile(
            probe_ms=median(usual.latencies),
            longest_probe_ms=max(meanwhile.latencies),
            probe_errors=usual.errors + meanwhile.errors,
        )

    def _change_all(self, crowd: Subscribers) -> tuple[Usage, list[float], int]:
        """Change everybody's order: what it took, when each had theirs, and what was too much."""
        crowd.forget()
        meter = self._meter()
        crowd.expect(self._changing.start_for_all())
        crowd.run(
            lambda: self._changing.is_done() and crowd.are_all_up_to_date(),
            PATIENCE_SECONDS + len(self._viewers) / 200,
        )
        crowd.listen(AFTERWARDS_SECONDS)
        used, changes = meter.read(), self._changing.changes()
        arrivals, surplus = _compare(crowd, {each.user_id: changes for each in self._viewers})
        return used, arrivals, surplus


def _compare(crowd: Subscribers, changes: dict[int, list[Change]]) -> tuple[list[float], int]:
    """How long each change took to its viewer, in order, and how many messages were too many."""
    found: list[float] = []
    surplus = crowd.misdirected
    for subscriber in crowd:
        if subscriber.viewer is not None:
            own = changes.get(subscriber.viewer.user_id, [])
            found += latencies(subscriber.seen, own).values()
            surplus += max(0, len(subscriber.seen) - len(own))
    return sorted(found), surplus


def _executions(server: Server, arm: Arm) -> float | None:
    """How many operations and results this project's server has executed; None of the others."""
    if arm is not OURS:
        return None
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        found = re.search(rb"^live_executions_total ([\d.e+]+)", answer.read(), re.MULTILINE)
    return float(found[1]) if found else None
