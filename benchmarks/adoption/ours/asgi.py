"""GraphQL and Django, side by side."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.adoption.ours.settings")
django = get_asgi_application()  # Models can be imported from here on.

from starlette.routing import Router  # noqa: E402

from app import LiveGraphQL  # noqa: E402
from benchmarks.adoption.ours.schema import schema  # noqa: E402

server = LiveGraphQL(schema)
application = Router(
    [*server.graphql("/graphql/"), *server.health(), *server.static(), *server.django(django)],
    lifespan=server.lifespan,
    middleware=server.middleware,
)
