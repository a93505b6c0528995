"""Measure how another viewer fares while somebody attacks this project's server."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks import hostile
from benchmarks.accounts import Viewer, users
from benchmarks.arms import OURS
from benchmarks.attackers import Attack, attackers
from benchmarks.database import FIRST_DAY, Database, Vendor
from benchmarks.probe import Answers, Probe, probe
from benchmarks.requesters import ask_once
from benchmarks.servers import Server
from benchmarks.writer import Writer, connect

ATTACKS: Final = "attacks"
"""The section of the results."""
PEOPLE: Final = [Viewer(user) for user in users(2)]
ATTACKER, VICTIM = PEOPLE
# As in production, but with the key that the sessions are signed with, and without TLS.
SETTINGS: Final = {
    "DEBUG": "false",
    "OPEN_ACCESS": "false",
    "HTTPS": "false",
    "SECRET_KEY": "only-for-development",
    "DJANGO_SETTINGS_MODULE": "settings",
}
INTROSPECTION: Final = {"GRAPHQL_INTROSPECTION": "true"}
PAUSE_SECONDS: Final = 0.3
"""Between two changes."""
WATCH_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class AttackLoad:
    """How long an attack takes, and on what."""

    seconds: float = 5.0
    changes: int = 10
    vendors: tuple[Vendor, ...] = ("postgresql", "sqlite")
    scenes: tuple[str, ...] = ()
    """The names of those to play; all, if none is named."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Who does what to the server."""

    name: str
    title: str
    attack: Callable[[int], Attack] | None = None
    """Made when the server has told its port, since it may have to be asked for its limits."""
    settings: Mapping[str, str] = field(default_factory=dict)
    has_changes: bool = False
    """Whether rows change, once the attackers hold what they can."""


def _introspect(port: int) -> Attack:
    schemas = most(hostile.MOST_SCHEMAS, lambda count: _is_small(port, count))
    return Attack(20, partial(hostile.introspection, schemas))


def _is_small(port: int, schemas: int) -> bool:
    answer = ask_once(port, hostile.introspection(schemas))
    return b"RESULT_TOO_LARGE" not in answer


def most(limit: int, is_allowed: Callable[[int], bool]) -> int:
    """The greatest number up to `limit` that is allowed, if smaller ones are."""
    least = 0
    while least < limit:
        middle = (least + limit + 1) // 2
        least, limit = (middle, limit) if is_allowed(middle) else (least, middle - 1)
    return least


SCENES: Final = (
    Scene("idle", "nobody attacks"),
    Scene(
        "costly",
        "a user tries 400 costly subscriptions, rows change",
        lambda _: Attack(4, hostile.costly_subscription, ATTACKER, 100),
        has_changes=True,
    ),
    Scene(
        "cheap",
        "a user tries 10,000 cheap subscriptions, rows change",
        lambda _: Attack(100, hostile.cheap_subscription, ATTACKER, 100),
        has_changes=True,
    ),
    Scene("introspection", "20 clients introspect, which is off", _introspect),
    Scene("introspection-on", "20 clients introspect, which is on", _introspect, INTROSPECTION),
    Scene("invalid", "20 clients' invalid documents", lambda _: Attack(20, hostile.invalid)),
    Scene("mutations", "a user's mutations", lambda _: Attack(10, hostile.creation, ATTACKER)),
    Scene("queries", "a user's costly queries", lambda _: Attack(10, hostile.orders, ATTACKER)),
)


def measure(
    scene: Scene, database: Database, changing: Writer, load: AttackLoad, folder: Path
) -> dict[str, float]:
    """Figures of one scene; what was refused is among them, under its code."""
    fill(database)
    changing.begin()
    log = folder / f"{database.vendor}-{scene.name}.log"
    with Server(OURS, database, log, {**SETTINGS, **scene.settings}, limits={}) as server:
        attack = scene.attack(server.port) if scene.attack else Attack(0, hostile.creation)
        with (
            probe(server.port, VICTIM, reconnects=True) as asking,
            attackers(server.port, attack) as attacking,
        ):
            _ask_a_little(asking)
            watch = Watch(server)
            asking.start()
            attacking.start()
            watch.go_on(load.seconds)
            if scene.has_changes:
                changing.start_for([ATTACKER.user_id] * load.changes, 1 / PAUSE_SECONDS)
                watch.go_on(load.changes * PAUSE_SECONDS + min(1.0, load.seconds))
                changing.changes()
            answers, figures = asking.stop(), watch.figures()
            outcome = attacking.stop()
    counts = {f"refused {code}": float(number) for code, number in outcome.refused.items()}
    return {**_latencies(answers), **figures, "results": float(outcome.results), **counts}


def fill(database: Database) -> None:
    """Leave as many orders of the attacker, and of the other viewer, as a list may have."""
    database.reset()
    execute = connect(database.writer_url)
    for viewer in PEOPLE:
        # In one statement, which is faster.
        row = f"('{FIRST_DAY}', 'UNPAID', {viewer.user_id})"
        rows = ", ".join([row] * hostile.ORDERS)
        execute(f"INSERT INTO orders_order (date, state, user_id) VALUES {rows}", [])


class Watch:
    """What a server uses from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._memory = self._most = server.memory_bytes()
        self._cpu_seconds, self._began = server.cpu_seconds(), time.monotonic()

    @property
    def growth_bytes(self) -> int:
        """The most by which memory has been larger than at the beginning."""
        self._most = max(self._most, self._server.memory_bytes())
        return self._most - self._memory

    def go_on(self, seconds: float) -> None:
        """Watch for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, WATCH_SECONDS))
            self._most = max(self._most, self._server.memory_bytes())

    def figures(self) -> dict[str, float]:
        """What it was until now."""
        return {
            "cpu_seconds": self._server.cpu_seconds() - self._cpu_seconds,
            "seconds": time.monotonic() - self._began,
            "memory_mb": self.growth_bytes / 2**20,
        }


def _ask_a_little(asking: Probe) -> None:
    asking.start()
    time.sleep(0.2)
    asking.stop()


def _latencies(answers: Answers) -> dict[str, float]:
    return {
        "probe_ms": mean(answers.latencies),
        "longest_probe_ms": max(answers.latencies),
        "probes": float(len(answers.latencies)),
        "probe_errors": float(answers.errors),
    }
