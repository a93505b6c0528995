"""What workers and database have to do for any number of subscribers, from what few have shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, mean
from typing import Final

from benchmarks.workers.measuring import Kind, Point

CORES_A_HOST: Final = 8
"""With one worker for each."""
LOAD: Final = 0.5
"""Of a core that may be in use on average, so that bursts and restarts have room."""
SUBSCRIBERS_A_WORKER: Final = 10_000
FITTED: Final[dict[Kind, int]] = {"equal": 4000, "own": 1000, "all": 0}
"""Up to so many subscribers, points are what the costs are taken from."""
CONNECTIONS_A_WORKER: Final = 17
"""To the database at most: eight for GraphQL, as many for Django's views, and the feed's."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time, in ms. The first word says whose: of the workers, or of the database."""

    worker_message: float
    worker_change: float
    """Of each worker for a change that concerns all: to look, to query once, to execute once."""
    database_change: float
    """The same of the database, for each worker."""
    database_write: float
    """Of the database for the change itself."""
    worker_own: float
    """For a change that concerns one viewer, of the worker that has the viewer."""
    database_own: float
    """The same of the database, the change itself included."""
    worker_looks: float
    """Of each worker in a second in which changes come all the time: to look for them."""
    database_looks: float
    worker_follow: float
    """Of each worker for each change in such a second, whomever it concerns."""
    database_follow: float
    equal_kb: float
    """Memory of a subscriber who asks what others ask, too."""
    own_kb: float
    """And of a viewer with rows of their own."""


@dataclass(frozen=True, slots=True)
class Population:
    """Who is subscribed, and how often what they see changes."""

    subscribers: int
    own_share: float = 0.1
    """Of the subscribers: viewers with rows of their own."""
    shared_changes_a_second: float = 1.0
    """Of what all others see."""
    own_changes_a_second: float = 0.01
    """For each viewer: one in a hundred seconds."""

    @property
    def own(self) -> int:
        """How many have rows of their own."""
        return round(self.subscribers * self.own_share)

    @property
    def changes_a_second(self) -> float:
        """That concern one viewer each."""
        return self.own * self.own_changes_a_second


@dataclass(frozen=True, slots=True)
class Demand:
    """What a population needs; cores are those in use on average."""

    workers: int
    hosts: int
    worker_cores: float
    memory_gb: float
    database_connections: int
    feed_cores: float
    """Of the database, for all workers to follow what changes: only the primary can do that."""
    query_cores: float
    """Of the database, for writes and the sources' queries: of these, replicas can do some."""


class TooManyChangesError(ValueError):
    """Each worker follows all changes of a database, and no number of them helps."""


def fit(points: Sequence[Point]) -> Costs:
    """Return what best explains the points, but for those that the model has to foretell."""
    fitted = [each for each in points if is_fitted(each)]
    equal = [each for each in fitted if each.kind == "equal"]
    own = [each for each in fitted if each.kind == "own"]
    paces = sorted({each.changes_a_second for each in own})
    slow, fast = ([each for each in own if each.changes_a_second == pace] for pace in paces)
    shares = [each.subscribers / each.workers for each in equal]
    times = [each.change_ms / each.workers for each in equal]
    message, change = linear_regression(shares, times)
    if change < 0:  # which is to say that it is too little to be seen beside messages
        (message, _), change = linear_regression(shares, times, proportional=True), 0.0
    database_change, database_write = _by_workers(equal, "database_ms")
    worker_own, worker_looks, worker_follow = _following(slow, fast, "change_ms")
    database_own, database_looks, database_follow = _following(slow, fast, "database_ms")
    return Costs(
        worker_message=message,
        worker_change=change,
        database_change=database_change,
        database_write=database_write,
        worker_own=worker_own,
        database_own=database_own,
        worker_looks=worker_looks,
        database_looks=database_looks,
        worker_follow=worker_follow,
        database_follow=database_follow,
        equal_kb=mean(each.memory_kb for each in equal),
        own_kb=mean(each.memory_kb for each in (*slow, *fast)),
    )


def is_fitted(point: Point) -> bool:
    """Whether the costs are taken from it; the others show whether the model is right."""
    return point.subscribers <= FITTED[point.kind]


def foretold(costs: Costs, point: Point) -> tuple[float, float] | None:
    """The processor time of workers and database for one change, in ms; None if it is not said."""
    workers, pace = point.workers, point.changes_a_second
    match point.kind:
        case "equal":
            return (
                workers * costs.worker_change + point.subscribers * costs.worker_message,
                workers * costs.database_change + costs.database_write,
            )
        case "own":
            return (
                costs.worker_own + workers * (costs.worker_looks / pace + costs.worker_follow),
                costs.database_own
                + workers * (costs.database_looks / pace + costs.database_follow),
            )
        case _:
            return None


def demand(costs: Costs, population: Population) -> Demand:
    """Return what the population needs."""
    shared, pace = population.shared_changes_a_second, population.changes_a_second
    messages = (population.subscribers - population.own) * shared
    alone = (messages * costs.worker_message + pace * costs.worker_own) / 1e3
    each = shared * costs.worker_change + costs.worker_looks + pace * costs.worker_follow
    # Each worker follows all changes, so more of them have more to do together.
    room = LOAD - each / 1e3
    if room <= 0:
        raise TooManyChangesError("To follow so many changes is more than a worker can do.")
    workers = max(math.ceil(population.subscribers / SUBSCRIBERS_A_WORKER), math.ceil(alone / room))
    memory = (
        population.subscribers - population.own
    ) * costs.equal_kb + population.own * costs.own_kb
    return Demand(
        workers=workers,
        hosts=math.ceil(workers / CORES_A_HOST),
        worker_cores=alone + workers * each / 1e3,
        memory_gb=memory / 2**20,
        database_connections=workers * CONNECTIONS_A_WORKER,
        feed_cores=workers * (costs.database_looks + pace * costs.database_follow) / 1e3,
        query_cores=(
            shared * (workers * costs.database_change + costs.database_write)
            + pace * costs.database_own
        )
        / 1e3,
    )


def _by_workers(points: Sequence[Point], name: str) -> tuple[float, float]:
    """What each worker adds to a change, and what there is without any."""
    return linear_regression(
        [each.workers for each in points], [getattr(each, name) for each in points]
    )


def _following(
    slow: Sequence[Point], fast: Sequence[Point], name: str
) -> tuple[float, float, float]:
    """What a change costs where it is seen, and each worker in a second: to look, and to follow.

    A look costs the same however much it finds, so at a greater pace there is less of it for each.
    """
    slope, alone = _by_workers(slow, name)
    fast_slope, fast_alone = _by_workers(fast, name)
    pace, fast_pace = slow[0].changes_a_second, fast[0].changes_a_second
    looks = max(0.0, (slope - fast_slope) / (1 / pace - 1 / fast_pace))
    return mean((alone, fast_alone)), looks, max(0.0, fast_slope - looks / fast_pace)


KINDS: Final[dict[Kind, str]] = {
    "equal": "all ask the same",
    "own": "one viewer's row",
    "all": "each viewer's row",
}
