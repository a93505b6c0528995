"""What the process does, in the text format that Prometheus reads.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import asyncio
from collections.abc import Iterator

from django.db import DEFAULT_DB_ALIAS, connections
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.graphql.engine import Engine

MEDIA_TYPE = "text/plain; version=0.0.4"


def routes(engine: Engine) -> list[Route]:
    """`/metrics`, for whoever can reach it: keep it from the public at the proxy."""

    async def metrics(_: Request) -> PlainTextResponse:
        lines = [line for each in _measure(engine) for line in _lines(*each)]
        return PlainTextResponse("\n".join(lines) + "\n", media_type=MEDIA_TYPE)

    return [Route("/metrics", metrics)]


def _measure(engine: Engine) -> Iterator[tuple[str, str, int]]:
    operations = engine.live.operations.values()
    yield "connections", "WebSockets and event streams that are open.", len(engine.connections)
    yield "members", "Subscriptions of all clients.", sum(len(each.members) for each in operations)
    yield "sources", "Distinct subscriptions, each with a source of its own.", len(operations)
    yield "executions_total", "Operations and subscription results executed.", engine.executions
    yield "messages_total", "Messages sent to clients.", engine.connections.sent
    yield "documents", "Parsed documents in the cache.", len(engine.documents)
    yield "tasks", "Tasks on the event loop.", len(asyncio.all_tasks())
    yield "feed_connected", "Whether changes are heard of.", engine.feed.is_connected
    pool = getattr(connections[DEFAULT_DB_ALIAS], "pool", None)
    for name, value in (pool.get_stats() if pool else {}).items():
        yield f"database_{name}", "See psycopg_pool's statistics.", value


def _lines(name: str, description: str, value: int) -> list[str]:
    kind = "counter" if name.endswith("_total") else "gauge"
    name = f"live_{name}"
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}", f"{name} {int(value)}"]
