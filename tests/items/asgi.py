"""The server of the items: all that the project's own has, but the pages."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.items.settings")
django = get_asgi_application()  # Models can be imported from here on.

from django.conf import settings  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Mount, Router  # noqa: E402

from app.server import LiveGraphQL  # noqa: E402
from app.web.headers import SecurityHeaders  # noqa: E402
from tests.items.schema import schema  # noqa: E402

server = LiveGraphQL(schema, threads=settings.DATABASE_POOL_SIZE)
others = Starlette(
    routes=[
        *server.health(),
        *(server.metrics() if settings.METRICS else ()),
        *server.static(),
        *server.django(django),
    ]
)
application = Router(
    [*server.graphql("/graphql/"), Mount("/", SecurityHeaders(others))],
    lifespan=server.lifespan,
    middleware=server.middleware,
)
