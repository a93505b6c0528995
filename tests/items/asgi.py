"""The server of the items: all that the project's own has, but the pages."""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.items.settings")
django = get_asgi_application()  # Models can be imported from here on.

from ariadne.asgi import GraphQL  # noqa: E402
from django.conf import settings  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware.cors import CORSMiddleware  # noqa: E402
from starlette.routing import Mount, Route, WebSocketRoute  # noqa: E402

from app.changes.feed import Feed, backend_for  # noqa: E402
from app.database.lifespan import opened  # noqa: E402
from app.graphql.engine import FAILURES, Engine  # noqa: E402
from app.graphql.limits import Limits  # noqa: E402
from app.live import Live  # noqa: E402
from app.transports.clients import Clients  # noqa: E402
from app.transports.handshake import WebSocketHandler, refuse_unknown_path  # noqa: E402
from app.transports.http import HTTPHandler  # noqa: E402
from app.transports.revocation import Revocation  # noqa: E402
from app.web import health  # noqa: E402
from app.web.bodies import BodyLimit  # noqa: E402
from app.web.headers import SecurityHeaders  # noqa: E402
from app.web.https import HTTPSOnly  # noqa: E402
from app.web.metrics import Metrics  # noqa: E402
from app.web.server import ServerRouter  # noqa: E402
from app.web.static import DjangoStaticFiles  # noqa: E402
from tests.items.schema import schema  # noqa: E402

limits = Limits.from_settings()
feed = Feed(backend_for("default"))
live = Live(FAILURES)
clients = Clients(limits.max_connections)
revocation = Revocation(feed, clients)
engine = Engine(schema, feed, live, limits)
metrics = Metrics(engine, feed, live, clients)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Start everything that the process owns; when it is told to stop, stop it all."""
    # An execution makes thousands of objects that die with it, and few in cycles: by Python's own
    # thresholds the search for cycles takes up to a third of the time under load.
    gc.freeze()
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
        http_handler=HTTPHandler(engine, clients, limits),
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
