"""The names of `/metrics`, and what each means."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


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
        Metric("live_replica_serving", Kind.LEAST, "Whether sources may read there.", ("replica",)),
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
