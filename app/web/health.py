"""Answer whether the process lives, and whether it should get clients."""

import asyncio

from django.db import DEFAULT_DB_ALIAS, Error, connections
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .. import __version__
from ..changes.feed import Feed
from ..database.calls import run
from ..transports.clients import Clients

TIMEOUT_SECONDS = 2.0


def routes(feed: Feed, clients: Clients) -> list[Route]:
    """`/health/live` is 200 while the event loop runs, `/health/ready` while all else works."""

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "live", "version": __version__})

    async def ready(_: Request) -> JSONResponse:
        reason = await fault(feed, clients)
        return JSONResponse({"status": reason or "ready"}, 503 if reason else 200)

    return [Route("/health/live", live), Route("/health/ready", ready)]


async def fault(feed: Feed, clients: Clients) -> str | None:
    """What keeps the process from serving clients well."""
    if clients.is_stopping:
        return "the server stops"
    if not feed.is_connected:
        return "the change feed is not connected"
    if tables := feed.backend.silent_tables:
        return f"no trigger announces changes of {', '.join(sorted(tables))}: run migrate"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await run(_ask)
    except TimeoutError:
        return f"the database, or its pool, did not answer within {TIMEOUT_SECONDS:g} s"
    except Error:
        return "the database does not answer"
    return None


def _ask() -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
