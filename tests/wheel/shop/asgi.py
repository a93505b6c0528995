"""Django and GraphQL, side by side."""

import os
from contextlib import asynccontextmanager

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django = get_asgi_application()

from ariadne.asgi import GraphQL
from catalog.schema import schema
from live_graphql.changes.feed import Feed, backend_for
from live_graphql.database.lifespan import opened
from live_graphql.graphql.engine import FAILURES, Engine
from live_graphql.graphql.limits import Limits
from live_graphql.live import Live
from live_graphql.transports.clients import Clients
from live_graphql.transports.handshake import WebSocketHandler
from live_graphql.transports.http import HTTPHandler
from live_graphql.transports.revocation import Revocation
from live_graphql.web import health
from starlette.routing import Mount, Route, Router, WebSocketRoute

limits = Limits.from_settings()
feed = Feed(backend_for("default"))
live = Live(FAILURES)
clients = Clients(limits.max_connections)
engine = Engine(schema, feed, live, limits)
graphql = GraphQL(
    schema,
    http_handler=HTTPHandler(engine, clients, limits),
    websocket_handler=WebSocketHandler(engine, clients, limits),
)


@asynccontextmanager
async def lifespan(_):
    async with opened(), feed, clients, Revocation(feed, clients), live:
        yield


application = Router(
    [
        Route("/graphql/", graphql),
        WebSocketRoute("/graphql/", graphql),
        *health.routes(feed),
        Mount("/", django),
    ],
    lifespan=lifespan,
)
