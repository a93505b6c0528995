"""What workers and database have to do for any number of subscribers, from what few have shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

from benchmarks.workers.least_squares import factors, sumprod
from benchmarks.workers.measuring import Kind, Point

CORES_A_HOST: Final = 8
"""With one worker for each."""
LOAD: Final = 0.5
"""Of a core that may be in use on average, so that bursts and restarts have room."""
SUBSCRIBERS_A_WORKER: Final = 10_000
CONNECTIONS_A_WORKER: Final = 17
"""To the database at most: eight for GraphQL, as many for Django's views, and the feed's."""
LOOKS: Final = 50
"""So often in a second a worker looks, where changes come fast."""
FITTED: Final[dict[Kind, int]] = {"equal": 4000, "own": 1000, "elsewhere": 100, "all": 0}
"""Up to so many subscribers, points are what the costs are taken from."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time in ms, of the workers or of the database."""

    shared_change: float
    """For each worker, when what all see changes: to look, to query once, to execute once."""
    shared_write: float
    """For such a change itself, however many workers there are."""
    message: float
    look: float
    """For each look of a worker, whatever it finds."""
    follow: float
    """For each worker and each change, whomever it concerns."""
    busy_look: float
    """For a look that finds something for one of the worker's own viewers."""
    own_change: float
    """For a change that concerns one viewer, where that one is."""
    write: float
    """For such a change itself, whoever is there."""


@dataclass(frozen=True, slots=True)
class Model:
    """What everything costs whom."""

    workers: Costs
    database: Costs
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


def is_fitted(point: Point) -> bool:
    """Whether the costs are taken from it; the others show whether the model is right."""
    return point.subscribers <= FITTED[point.kind]


def is_foretold(point: Point) -> bool:
    """Whether the model says something of such a point."""
    return point.kind != "all"


def fit(points: Sequence[Point]) -> Model:
    """Return what best explains the points, but for those that the model has to foretell.

    Raise ValueError if they are too few.
    """
    fitted = [each for each in points if is_fitted(each)]
    return Model(
        _fit(fitted, [each.change_ms for each in fitted]),
        _fit(fitted, [each.database_ms for each in fitted], has_messages=False),
        equal_kb=mean([each.memory_kb for each in fitted if each.kind == "equal"]),
        own_kb=mean([each.memory_kb for each in fitted if each.kind == "own"]),
    )


def foretold(costs: Costs, point: Point) -> float:
    """The processor time for one change of the point, in ms."""
    return sumprod(_times(point), _values(costs))


def demand(model: Model, population: Population) -> Demand:
    """Return what the population needs. Raise TooManyChangesError."""
    workers = max(1, math.ceil(population.subscribers / SUBSCRIBERS_A_WORKER))
    while _cores(model.workers, population, workers) > workers * LOAD:
        if _following(model.workers, population, 1) > LOAD:
            raise TooManyChangesError("To follow so many changes is more than a worker can do.")
        workers += 1
    shared = population.subscribers - population.own
    memory_kb = shared * model.equal_kb + population.own * model.own_kb
    following = _following(model.database, population, workers)
    return Demand(
        workers=workers,
        hosts=math.ceil(workers / CORES_A_HOST),
        worker_cores=_cores(model.workers, population, workers),
        memory_gb=memory_kb / 2**20,
        database_connections=workers * CONNECTIONS_A_WORKER,
        feed_cores=following,
        query_cores=_cores(model.database, population, workers) - following,
    )


def _following(costs: Costs, population: Population, workers: int) -> float:
    """The cores in which so many workers, or the database for them, only follow what changes."""
    pace = population.changes_a_second
    return workers * (min(LOOKS, pace) * costs.look + pace * costs.follow) / 1e3


def _cores(costs: Costs, population: Population, workers: int) -> float:
    pace, shared = population.changes_a_second, population.shared_changes_a_second
    messages = (population.subscribers - population.own) * shared
    alone = shared * (workers * costs.shared_change + costs.shared_write) + messages * costs.message
    own = workers * _busy_looks(pace / workers) * costs.busy_look + pace * (
        costs.own_change + costs.write
    )
    return (alone + own) / 1e3 + _following(costs, population, workers)


def _busy_looks(pace: float) -> float:
    """How many looks of a worker in a second find some of so many changes, which come by chance."""
    return LOOKS * (1 - math.exp(-pace / LOOKS))


def _times(point: Point) -> list[float]:
    """How often each of the costs arises for one change of the point."""
    workers, pace = point.workers, point.changes_a_second
    if point.kind == "equal":
        return [workers, 1, point.subscribers, 0, 0, 0, 0, 0]
    following = [workers * min(LOOKS, pace) / pace, workers]
    if point.kind == "elsewhere":
        return [0, 0, 0, *following, 0, 0, 1]
    return [0, 0, 0, *following, workers * _busy_looks(pace / workers) / pace, 1, 1]


def _values(costs: Costs) -> list[float]:
    return [
        costs.shared_change,
        costs.shared_write,
        costs.message,
        costs.look,
        costs.follow,
        costs.busy_look,
        costs.own_change,
        costs.write,
    ]


def _fit(points: Sequence[Point], measured: Sequence[float], *, has_messages: bool = True) -> Costs:
    if len(points) < len(Costs.__slots__):
        raise ValueError("There are fewer points than costs.")
    rows = [
        [time / took for time in _times(point)]
        for point, took in zip(points, measured, strict=True)
    ]
    # Writes are the database's, and messages are the workers'.
    columns = [0, 2, 3, 4, 5, 6] if has_messages else [0, 1, 3, 4, 5, 6, 7]
    return Costs(*factors(rows, columns))


KINDS: Final[dict[Kind, str]] = {
    "equal": "all, who ask the same",
    "own": "one viewer's row",
    "elsewhere": "nobody's row",
    "all": "each viewer's row",
}
