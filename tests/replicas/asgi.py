"""A server that counts items: on a replica it takes until replay cancels it."""

import os
from collections.abc import AsyncGenerator

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.items.settings")
django = get_asgi_application()  # Models can be imported from here on.

from ariadne import QueryType, SubscriptionType, make_executable_schema  # noqa: E402
from django.db import DEFAULT_DB_ALIAS, connections, router  # noqa: E402
from starlette.routing import Router  # noqa: E402

from app.database.calls import call  # noqa: E402
from app.graphql.context import Info  # noqa: E402
from app.server import LiveGraphQL  # noqa: E402
from tests.items.models import Item  # noqa: E402

TYPES = "type Query { nothing: Int } type Subscription { count: Int! }"
SLOWLY = "SELECT count(*), pg_sleep(60) FROM items_item"

subscription = SubscriptionType()
subscription.set_field("count", lambda yielded, *_: yielded)


@subscription.source("count")
async def count_items(_: None, info: Info) -> AsyncGenerator[int, None]:
    """Yield how many items there are: now, and after each change."""
    async for _change in info.context.feed.watch(Item):
        alias = router.db_for_read(Item)
        yield await call(alias, count, alias)


def count(alias: str) -> int:
    """Count the items; on a replica, with a snapshot that lasts."""
    statement = "SELECT count(*) FROM items_item" if alias == DEFAULT_DB_ALIAS else SLOWLY
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


server = LiveGraphQL(make_executable_schema(TYPES, QueryType(), subscription))
application = Router(
    [*server.graphql(), *server.health(), *server.django(django)],
    lifespan=server.lifespan,
    middleware=server.middleware,
)
