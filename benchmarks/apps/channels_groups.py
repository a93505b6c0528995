"""Strawberry on Channels, with a group for each user: one query for each change.

The layer in memory serves one process; across several, one in Redis would cost more.
"""

from collections.abc import AsyncGenerator
from typing import Any

from django.core.asgi import get_asgi_application

django = get_asgi_application()

import strawberry  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from strawberry.channels import GraphQLProtocolTypeRouter  # noqa: E402

from benchmarks.apps.strawberry_server import OrderType  # noqa: E402
from benchmarks.apps.strawberry_topics import Query  # noqa: E402
from benchmarks.apps.topics import orders_of, publishing, user_id_of  # noqa: E402

layer: Any = get_channel_layer()


async def publish(user_id: int) -> None:
    """Tell the user's group; a message carries no model, so who gets it reads the order."""
    await layer.group_send(f"user-{user_id}", {"type": "order.changed"})


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def get_order(self, info: strawberry.Info) -> AsyncGenerator[OrderType | None, None]:
        """The user's newest order, which the group brings."""
        user_id = user_id_of(info)
        changes = info.context["ws"].listen_to_channel("order.changed", groups=[f"user-{user_id}"])
        async with changes as messages:
            yield await orders_of(user_id).alast()  # type: ignore[misc]
            async for _ in messages:
                yield await orders_of(user_id).alast()  # type: ignore[misc]


schema = strawberry.Schema(Query, subscription=Subscription)
application = GraphQLProtocolTypeRouter(schema, django_application=django)
application.application_mapping["lifespan"] = Starlette(lifespan=publishing(publish))
