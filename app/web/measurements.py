"""What `/metrics` tells of this process: each metric, and where its value comes from."""

import asyncio
import platform
import resource
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum, auto
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
from .refusals import refused

POOL_COUNTERS: Final = {"requests", "queued", "errors", "wait_seconds", "opened", "lost"}
PAGE_BYTES: Final = resource.getpagesize()


class Kind(Enum):
    """What becomes of the numbers of several workers."""

    COUNTER = auto()
    """They only grow, and add up, those of workers that have ended included."""
    SUM = auto()
    """They add up."""
    LEAST = auto()
    MOST = auto()
    HISTOGRAM = auto()
    """As counters."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A name of `/metrics`, without what Prometheus appends to it."""

    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number of this process, of one of the metric's kinds if it has labels."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()


_SECONDS = "Seconds"
_POOL = "Database connections, or threads, of a pool"
METRICS: Final = {
    metric.name.removeprefix("live_"): metric
    for metric in (
        # Clients
        Metric("live_connections", Kind.SUM, "Open WebSockets and event streams."),
        Metric("live_max_connections", Kind.SUM, "How many of these there may be."),
        Metric("live_connections_opened", Kind.COUNTER, "WebSockets and event streams opened."),
        Metric(
            "live_connections_closed", Kind.COUNTER, "Those that the server has closed.", ("code",)
        ),
        Metric("live_subscribers", Kind.SUM, "Subscriptions of all clients."),
        Metric("live_messages", Kind.COUNTER, "Messages sent to clients."),
        Metric(
            "live_results_dropped",
            Kind.COUNTER,
            "Results not sent, since newer ones came before the client had read.",
        ),
        Metric("live_refused", Kind.COUNTER, "What limits have refused.", ("code",)),
        Metric("live_viewers_reviewed", Kind.COUNTER, "Connections whose viewer was looked up."),
        Metric("live_review_seconds", Kind.HISTOGRAM, f"{_SECONDS} that a review of viewers took."),
        # Work
        Metric("live_sources", Kind.SUM, "Sources: equal subscriptions share one."),
        Metric("live_max_sources", Kind.SUM, "How many of these there may be."),
        Metric("live_operations", Kind.COUNTER, "Operations begun.", ("type",)),
        Metric("live_executions", Kind.COUNTER, "Operations and results executed."),
        Metric(
            "live_execution_seconds",
            Kind.HISTOGRAM,
            f"{_SECONDS} to execute and encode one of these.",
            ("type",),
        ),
        Metric(
            "live_result_seconds",
            Kind.HISTOGRAM,
            f"{_SECONDS} from the change that woke a source to its result.",
        ),
        Metric("live_documents", Kind.SUM, "Parsed documents in the cache."),
        Metric("live_tasks", Kind.SUM, "Tasks on the event loops."),
        Metric("live_loop_lag_seconds", Kind.HISTOGRAM, f"{_SECONDS} that a timer came too late."),
        # Feed
        Metric("live_feed_connected", Kind.LEAST, "Whether all workers hear of changes."),
        Metric(
            "live_feed_heard_timestamp_seconds", Kind.LEAST, "When the database was last heard of."
        ),
        Metric("live_feed_reconnects", Kind.COUNTER, "How often the feed has lost the database."),
        Metric("live_feed_lag_seconds", Kind.HISTOGRAM, f"{_SECONDS} from a commit to the wake."),
        Metric("live_feed_wakes", Kind.COUNTER, "Sources woken by changes."),
        Metric("live_feed_imprecise", Kind.SUM, "Sources woken by every change of a table."),
        Metric("live_feed_silent_tables", Kind.MOST, "Live tables without a trigger."),
        Metric("live_feed_rows", Kind.MOST, "Rows in the table of changes."),
        Metric("live_feed_dead_rows", Kind.MOST, "Deleted rows there, not vacuumed."),
        # Database
        Metric("live_database_max_size", Kind.SUM, f"{_POOL} at most.", ("pool",)),
        Metric("live_database_size", Kind.SUM, f"{_POOL} now.", ("pool",)),
        Metric("live_database_idle", Kind.SUM, f"{_POOL} that nobody uses.", ("pool",)),
        Metric("live_database_in_use", Kind.SUM, f"{_POOL} that somebody uses.", ("pool",)),
        Metric("live_database_waiting", Kind.SUM, "Who waits for one.", ("pool",)),
        Metric("live_database_requests", Kind.COUNTER, "How often one was asked for.", ("pool",)),
        Metric("live_database_queued", Kind.COUNTER, "How often somebody had to wait.", ("pool",)),
        Metric("live_database_wait_seconds", Kind.COUNTER, f"{_SECONDS} waited.", ("pool",)),
        Metric("live_database_errors", Kind.COUNTER, "How often none came in time.", ("pool",)),
        Metric("live_database_opened", Kind.COUNTER, "Database connections opened.", ("pool",)),
        Metric("live_database_lost", Kind.COUNTER, "Database connections lost.", ("pool",)),
        # Process
        Metric("live_workers", Kind.SUM, "Workers of this server."),
        Metric(
            "live_sampled_timestamp_seconds", Kind.LEAST, "When a worker last noted its numbers."
        ),
        Metric("live_info", Kind.MOST, "What runs; always 1.", ("version", "python", "django")),
        Metric("live_process_cpu_seconds", Kind.COUNTER, "Processor time."),
        Metric("live_process_resident_bytes", Kind.SUM, "Memory."),
        Metric("live_process_open_files", Kind.MOST, "Open files of the worker with most."),
        Metric("live_process_max_files", Kind.LEAST, "How many files a worker may open."),
    )
}
"""All there are, by their names without `live_`. docs/operation.md has them, too."""


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
        for label, number in by_label.items():
            yield Measurement(METRICS[name], number, (str(label),))
    for pool in statistics():
        values = asdict(pool)
        label = (values.pop("name"),)
        values["in_use"] = pool.size - pool.idle
        for name, value in values.items():
            yield Measurement(METRICS[f"database_{name}"], value, label)
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
