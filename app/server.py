"""GraphQL over one schema, and all that a server process needs to keep it live."""

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from ariadne.asgi import GraphQL
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from graphql import GraphQLSchema
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from .authentication.asking import Authentication
from .authentication.django_sessions import DjangoSessions
from .changes.feed import Feed, backend_for
from .database.lifespan import opened
from .graphql.engine import FAILURES, Engine
from .graphql.limits import Limits
from .live import Live
from .transports.clients import Clients
from .transports.handshake import WebSocketHandler, refuse_unknown_path
from .transports.http import HTTPHandler
from .transports.revocation import Revocation
from .viewer import Authenticate
from .web import health, static
from .web.bodies import BodyLimit
from .web.https import HTTPSOnly
from .web.listening import Listening
from .web.metrics import Metrics
from .web.options import OptionsCheck
from .web.pages import Page, Pages
from .web.service_manager import ServiceManager
from .web.status import Status

servers: Final[WeakSet["LiveGraphQL"]] = WeakSet()
"""All of this process, for the system checks."""


class LiveGraphQL:
    """What one process serves of a schema; its methods give the routes of a Starlette router.

    `authenticate` says who asks, by default Django's session. If it is an asynchronous context
    manager, too, the lifespan enters it. `using` is the database whose changes are followed, by
    `feed` if that is given, and `threads` how many of its calls run at once where its engine makes
    the async ORM use threads.

    Raises ImproperlyConfigured for settings that make no sense; the lifespan does, for a database
    that cannot be followed.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        authenticate: Authenticate | None = None,
        using: str = DEFAULT_DB_ALIAS,
        threads: int = 8,
        feed: Feed | None = None,
    ) -> None:
        self.schema: Final = schema
        self.using: Final = using
        self.limits: Final = Limits.from_settings()
        self.feed: Final = feed or Feed(backend_for(using), using)
        self.live: Final = Live(FAILURES)
        self.authenticate: Final = authenticate or DjangoSessions()
        self.clients: Final = Clients(
            self.limits.max_connections, Authentication(self.authenticate)
        )
        self.engine: Final = Engine(schema, self.feed, self.live, self.limits)
        self._revocation = Revocation(self.feed, self.clients)
        self._metrics = Metrics(self.engine, self.feed, self.live, self.clients, self._revocation)
        self._status = Status(self.engine, self.live, self.clients)
        self._threads = threads
        self._pages: Pages | None = None
        servers.add(self)

    @asynccontextmanager
    async def lifespan(self, _: Any = None) -> AsyncIterator[None]:
        """Start everything that the process owns; when it is told to stop, stop it all."""
        # An execution makes thousands of objects that die with it, and few in cycles: by Python's
        # own thresholds the search for cycles takes up to a third of the time under load.
        gc.freeze()
        # Of the middle generation few at a time, since each search stops everybody.
        gc.set_threshold(10_000, 5, 80)
        async with AsyncExitStack() as stack:
            hook: object = self.authenticate
            if isinstance(hook, AbstractAsyncContextManager):
                await stack.enter_async_context(hook)
            listening = await stack.enter_async_context(Listening())
            for each in (
                opened(threads=self._threads),
                self.feed,
                self.clients,
                self._revocation,
                self.live,
                self._metrics,
                self._status,
                ServiceManager(listening.has_begun, partial(health.fault, self.feed, self.clients)),
            ):
                await stack.enter_async_context(each)
            yield

    def graphql(self, path: str = "/graphql/") -> list[BaseRoute]:
        """GraphQL over HTTP, WebSocket and server-sent events, at one address.

        Pages of the origins in GRAPHQL_ALLOWED_ORIGINS may use it, too.
        """
        app = CORSMiddleware(
            GraphQL(
                self.schema,
                http_handler=HTTPHandler(self.engine, self.clients, self.limits, self._playground),
                websocket_handler=WebSocketHandler(self.engine, self.clients, self.limits),
            ),
            allow_origins=settings.GRAPHQL_ALLOWED_ORIGINS,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            allow_credentials=True,
        )
        paths = dict.fromkeys((path, path.rstrip("/") or "/"))
        return [kind(each, app) for kind in (Route, WebSocketRoute) for each in paths]

    def health(self) -> list[BaseRoute]:
        """`/health/live` and `/health/ready`."""
        return [*health.routes(self.feed, self.clients)]

    def metrics(self) -> list[BaseRoute]:
        """`/metrics`, for Prometheus."""
        return [*self._metrics.routes()]

    def static(self) -> list[BaseRoute]:
        """Django's static files, with no need of `collectstatic`."""
        return [*static.routes()]

    def pages(self, folder: Path, icon: Path, pages: Sequence[Page]) -> list[BaseRoute]:
        """Pages of a front end that was built into `folder`."""
        self._pages = Pages(folder, icon, pages)
        return self._pages.routes()

    def django(self, app: Any) -> list[BaseRoute]:
        """All the rest, by the application that Django's `get_asgi_application` returns.

        Requests of more than HTTP_MAX_BODY_BYTES are refused.
        """
        # Django would raise for a WebSocket.
        refusal = WebSocketRoute("/{path:path}", refuse_unknown_path)
        return [refusal, Mount("/", BodyLimit(app, settings.HTTP_MAX_BODY_BYTES))]

    @property
    def middleware(self) -> list[Middleware]:
        """What is around all routes.

        HTTPS for everything, if SECURE_SSL_REDIRECT is on, and a warning, at the start, of options
        that uvicorn lacks.
        """
        return [Middleware(OptionsCheck), Middleware(HTTPSOnly)]

    def _playground(self, request: Request) -> Response | None:
        return self._pages.playground(request) if self._pages else None
