"""What `/metrics` tells of this process: each metric, and where its value comes from."""

import asyncio
import platform
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time, time
from typing import Any, Final

import django

from .. import __version__
from ..changes.feed import Feed
from ..database.lifespan import statistics
from ..graphql.engine import Engine
from ..histogram import Histogram
from ..live import Live
from ..transports.clients import Clients
from ..transports.revocation import Revocation
from .catalogue import METRICS, Metric
from .refusals import refused

PAGE_BYTES: Final = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number of this process, of one of the metric's kinds if it has labels."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What is looked at."""

    engine: Engine
    feed: Feed
    live: Live
    clients: Clients
    revocation: Revocation
    loop_lag: Histogram


def measure(these: Measured) -> Iterator[Measurement]:
    """The numbers of this process, at this moment."""
    for part in (_of_clients, _of_work, _of_feed, _of_process):
        for name, value in part(these):
            yield Measurement(METRICS[name], value)
    counted: dict[str, Mapping[Any, float | Histogram]] = {
        "refused": these.engine.budgets.refused + refused,
        "connections_closed": these.clients.closed,
        "operations": these.engine.operations,
        "execution_seconds": these.engine.seconds,
    }
    for name, by_label in counted.items():
        # A copy: whoever takes the numbers one by one lets others count meanwhile.
        for label, number in list(by_label.items()):
            yield Measurement(METRICS[name], number, (str(label),))
    for pool in statistics():
        values = asdict(pool)
        label = (values.pop("name"),)
        values["in_use"] = pool.size - pool.idle
        for name, value in values.items():
            yield Measurement(METRICS[f"database_{name}"], value, label)
    for replica in these.feed.replicas.all if these.feed.replicas else ():
        yield Measurement(METRICS["replica_serving"], replica.serves, (replica.alias,))
    versions = (__version__, platform.python_version(), django.__version__)
    yield Measurement(METRICS["info"], 1, versions)


Named = Iterator[tuple[str, float | Histogram]]


def _of_clients(these: Measured) -> Named:
    clients, revocation = these.clients, these.revocation
    yield "connections", len(clients)
    yield "max_connections", these.engine.limits.max_connections
    yield "connections_opened", clients.opened
    yield "messages", clients.sent
    yield "results_dropped", clients.dropped
    yield "viewers_reviewed", revocation.reviewed
    yield "review_seconds", revocation.seconds


def _of_work(these: Measured) -> Named:
    engine, sources = these.engine, these.live.operations.values()
    yield "subscribers", sum(len(each.subscribers) for each in sources)
    yield "sources", len(sources)
    yield "max_sources", engine.limits.max_sources
    yield "executions", engine.executions
    yield "result_seconds", engine.seconds_since_change
    yield "documents", len(engine.preparation.documents)
    yield "tasks", len(asyncio.all_tasks())
    yield "loop_lag_seconds", these.loop_lag


def _of_feed(these: Measured) -> Named:
    feed, hearing = these.feed, these.feed.backend.hearing
    yield "feed_connected", feed.is_connected
    yield "feed_heard_timestamp_seconds", time() - hearing.silence_seconds
    yield "feed_reconnects", feed.reconnects
    yield "feed_lag_seconds", hearing.lag
    yield "feed_wakes", feed.wakes
    yield "feed_imprecise", sum(feed.index.waiting_for_every_change().values())
    yield "feed_silent_tables", len(feed.backend.silent_tables)
    if hearing.rows is not None and hearing.dead_rows is not None:
        yield "feed_rows", hearing.rows
        yield "feed_dead_rows", hearing.dead_rows


def _of_process(_: Measured) -> Named:
    yield "workers", 1
    yield "sampled_timestamp_seconds", time()
    yield "process_cpu_seconds", process_time()
    yield "process_max_files", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with suppress(OSError):  # where there is no /proc
        yield (
            "process_resident_bytes",
            int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
        )
        yield "process_open_files", sum(1 for _ in Path("/proc/self/fd").iterdir())
