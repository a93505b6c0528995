"""The server: GraphQL on three transports next to Django, in one router.

`uvicorn asgi:application` runs it. What a process owns, and its lifespan, are in `app/server.py`.
"""

import os
import sys

from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
try:
    django = get_asgi_application()  # Models can be imported from here on.
except (EnvError, ImproperlyConfigured) as error:
    print(f"The server cannot start: {error}", file=sys.stderr)
    sys.exit(3)  # by which uvicorn knows that another worker would fare no better

from django.conf import settings
from starlette.applications import Starlette
from starlette.routing import Mount, Router

from app import LiveGraphQL
from app.web.headers import SecurityHeaders
from app.web.pages import PLAYGROUND
from orders.board import BOARD
from orders.schema import schema

try:
    server = LiveGraphQL(schema, threads=settings.DATABASE_POOL_SIZE)
except ImproperlyConfigured as error:  # of the trusted documents, which the schema must have
    print(f"The server cannot start: {error}", file=sys.stderr)
    sys.exit(3)
pages = [page for page in (BOARD, PLAYGROUND) if getattr(settings, page.name.upper())]
others = Starlette(
    routes=[
        *server.health(),
        *(server.metrics() if settings.METRICS else ()),
        *server.pages(settings.PAGES_DIR, settings.ICON, pages),
        *server.static(),
        *server.django(django),
    ]
)
# GraphQL beside all that. What a Starlette app adds to a router, error pages, would be one step
# more for each message sent.
application = Router(
    [*server.graphql("/graphql/"), Mount("/", SecurityHeaders(others))],
    lifespan=server.lifespan,
    middleware=server.middleware,
)
