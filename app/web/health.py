"""Answer whether the process lives, and whether it should get clients."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.changes.feed import Feed


def routes(feed: Feed) -> list[Route]:
    """`/health/live` is 200 while the event loop turns; `/health/ready` while the feed listens."""

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> JSONResponse:
        if feed.is_connected:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "the change feed is not connected"}, 503)

    return [Route("/health/live", live), Route("/health/ready", ready)]
