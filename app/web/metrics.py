"""What the process does, in the text format that Prometheus reads.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ..changes.feed import Feed
from ..database.lifespan import statistics
from ..graphql.engine import Engine
from ..live import Live
from ..transports.clients import Clients

MEDIA_TYPE = "text/plain; version=0.0.4"
POOL_COUNTERS = {"requests", "queued", "errors", "wait_seconds", "opened", "lost"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One number; that of a counter only grows."""

    name: str
    description: str
    value: float
    label: str = ""

    def lines(self) -> Iterator[str]:
        """The metric in Prometheus' words."""
        kind = "counter" if self.name.endswith("_total") else "gauge"
        yield f"# HELP live_{self.name} {self.description}"
        yield f"# TYPE live_{self.name} {kind}"
        yield f"live_{self.name}{self.label} {self.value:.15g}"


def routes(engine: Engine, feed: Feed, live: Live, clients: Clients) -> list[Route]:
    """`/metrics`, for whoever can reach it: keep it from the public at the proxy."""

    async def metrics(_: Request) -> PlainTextResponse:
        # The lines of a metric come together, its first two once, however many labels it has.
        every = sorted(_measure(engine, feed, live, clients), key=lambda metric: metric.name)
        lines = dict.fromkeys(line for metric in every for line in metric.lines())
        return PlainTextResponse("\n".join(lines) + "\n", media_type=MEDIA_TYPE)

    return [Route("/metrics", metrics)]


def _measure(engine: Engine, feed: Feed, live: Live, clients: Clients) -> Iterator[Metric]:
    sources = live.operations.values()
    subscribers = sum(len(each.subscribers) for each in sources)
    sent = clients.sent
    yield Metric("connections", "Open WebSockets and event streams.", len(clients))
    yield Metric("subscribers", "Subscriptions of all clients.", subscribers)
    yield Metric("sources", "Sources: equal subscriptions share one.", len(sources))
    yield Metric("executions_total", "Operations and results executed.", engine.executions)
    yield Metric("messages_total", "Messages sent to clients.", sent)
    yield Metric("documents", "Parsed documents in the cache.", len(engine.documents))
    yield Metric("tasks", "Tasks on the event loop.", len(asyncio.all_tasks()))
    yield Metric("feed_connected", "Whether changes are heard of.", feed.is_connected)
    yield from _measure_pools()


def _measure_pools() -> Iterator[Metric]:
    for pool in statistics():
        values = asdict(pool)
        label = f'{{pool="{values.pop("name")}"}}'
        for name, value in values.items():
            suffix = "_total" if name in POOL_COUNTERS else ""
            description = f"Of the database's connections or threads: {name.replace('_', ' ')}."
            yield Metric(f"database_{name}{suffix}", description, value, label)
