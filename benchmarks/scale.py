"""How much a run measures: everything, or a little of it."""

from dataclasses import dataclass
from typing import Final

from benchmarks import orm
from benchmarks.arms import (
    ARMS,
    BARE,
    EXECUTING,
    GRAPHQL_WS,
    GRAPHQL_WS_TOPICS,
    MERCURIUS,
    OURS,
    POLLING,
    POSTGRAPHILE_TOPICS,
    PUBLISHED,
    SEED,
    STRAWBERRY,
    STRAWBERRY_TOPICS,
    VIEWER_ARMS,
    Arm,
)
from benchmarks.attacks import AttackLoad
from benchmarks.database import Vendor
from benchmarks.delivery import Load
from benchmarks.viewing import ViewerLoad


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
class Viewing:
    """A load of viewers who each see only their own, and the arms that are put under it."""

    load: ViewerLoad
    arms: tuple[Arm, ...] = VIEWER_ARMS
    max_rounds: int = 2


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    deliveries: tuple[Deliveries, ...]
    viewings: tuple[Viewing, ...]
    query_clients: tuple[int, ...]
    query_arms: tuple[Arm, ...]
    viewer_query_arms: tuple[Arm, ...]
    query_seconds: float
    orm_arms: tuple[str, ...]
    orm_latencies_ms: tuple[int, ...]
    orm_seconds: float
    writers: tuple[int, ...]
    writer_seconds: int
    attacks: AttackLoad
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
    viewings=(
        Viewing(ViewerLoad(1000)),
        # To connect so many takes a minute.
        Viewing(
            ViewerLoad(10_000, paces=(100,), shared_changes=1, do_come_back=False),
            (OURS, GRAPHQL_WS_TOPICS),
            max_rounds=1,
        ),
    ),
    query_clients=(1, 10, 100),
    query_arms=(OURS, POLLING, STRAWBERRY),
    viewer_query_arms=(OURS, GRAPHQL_WS_TOPICS, STRAWBERRY_TOPICS, POSTGRAPHILE_TOPICS),
    query_seconds=1.0,
    orm_arms=tuple(orm.arms()),
    orm_latencies_ms=orm.LATENCIES_MS,
    orm_seconds=0.6,
    writers=(1, 8, 64),
    writer_seconds=2,
    attacks=AttackLoad(),
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
    viewings=(Viewing(ViewerLoad(50, paces=(10,), seconds=1, shared_changes=1, idle_seconds=0.5)),),
    query_clients=(10,),
    query_arms=(OURS, POLLING),
    viewer_query_arms=(OURS, GRAPHQL_WS_TOPICS),
    query_seconds=0.3,
    orm_arms=tuple(orm.arms()),
    orm_latencies_ms=(0,),
    orm_seconds=0.3,
    writers=(8,),
    writer_seconds=1,
    attacks=AttackLoad(
        seconds=0.3,
        changes=2,
        vendors=("sqlite",),
        scenes=("idle", "costly", "introspection-on", "mutations"),
    ),
    is_quick=True,
)
