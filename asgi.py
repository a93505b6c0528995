"""The server: GraphQL on three transports next to Django, in one router.

`uvicorn asgi:application` runs it. Everything is wired here and nowhere else.
"""

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
try:
    django = get_asgi_application()  # Models can be imported from here on.
except (EnvError, ImproperlyConfigured) as error:
    print(f"The server cannot start: {error}", file=sys.stderr)
    sys.exit(3)  # by which uvicorn knows that another worker would fare no better

from ariadne.asgi import GraphQL
from django.conf import settings
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route, WebSocketRoute

from app.changes.feed import Feed, backend_for
from app.database.lifespan import opened
from app.graphql.engine import FAILURES, Engine
from app.graphql.limits import Limits
from app.live import Live
from app.transports.clients import Clients
from app.transports.handshake import WebSocketHandler, refuse_unknown_path
from app.transports.http import HTTPHandler
from app.transports.revocation import Revocation
from app.web import health
from app.web.bodies import BodyLimit
from app.web.headers import SecurityHeaders
from app.web.https import HTTPSOnly
from app.web.metrics import Metrics
from app.web.pages import PLAYGROUND, Pages
from app.web.server import ServerRouter
from app.web.static import DjangoStaticFiles
from orders.board import BOARD
from orders.schema import schema

limits = Limits.from_settings()
feed = Feed(backend_for("default"))
live = Live(FAILURES)
clients = Clients(limits.max_connections)
revocation = Revocation(feed, clients)
engine = Engine(schema, feed, live, limits)
metrics = Metrics(engine, feed, live, clients)
pages = Pages(BOARD, PLAYGROUND)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Start everything that the process owns; when it is told to stop, stop it all."""
    # An execution makes thousands of objects that die with it, and few in cycles: by Python's own
    # thresholds the search for cycles takes up to a third of the time under load.
    gc.freeze()
    # Of the middle generation few at a time, since each search stops everybody.
    gc.set_threshold(10_000, 5, 80)
    async with (
        opened(threads=settings.DATABASE_POOL_SIZE),
        feed,
        clients,
        revocation,
        live,
        metrics,
    ):
        yield


graphql = CORSMiddleware(
    GraphQL(
        schema,
        http_handler=HTTPHandler(engine, clients, limits, pages.playground),
        websocket_handler=WebSocketHandler(engine, clients, limits),
    ),
    allow_origins=settings.CORS_ALLOWED_ORIGINS,
    allow_methods=["GET", "POST"],
    allow_headers=["content-type"],
    allow_credentials=True,
)
others = Starlette(
    routes=[
        WebSocketRoute("/{path:path}", refuse_unknown_path),
        *health.routes(feed),
        *metrics.routes(),
        *pages.routes(),
        Mount(settings.STATIC_URL, DjangoStaticFiles()),
        Mount("/", BodyLimit(django, settings.MAX_BODY_BYTES)),  # type: ignore[arg-type]
    ],
)
# What a Starlette app adds to a router, error pages, would be one step more for each message sent.
router = ServerRouter(
    [
        *(
            kind(path, graphql)
            for kind in (Route, WebSocketRoute)
            for path in ("/graphql/", "/graphql")
        ),
        Mount("/", SecurityHeaders(others)),
    ],
    lifespan=lifespan,
)
application = HTTPSOnly(router)
