"""What can be asked and followed."""

from collections.abc import AsyncGenerator
from pathlib import Path

from ariadne import QueryType, SubscriptionType, load_schema_from_path, make_executable_schema
from django.db.models import QuerySet

from app import Info, UnauthenticatedError
from app.database import run
from benchmarks.adoption.shop.models import Order

query, subscription = QueryType(), SubscriptionType()


def visible_orders(info: Info) -> QuerySet[Order]:
    """What this viewer may see."""
    viewer = info.context.viewer
    if viewer.user_id is None:
        raise UnauthenticatedError("Sign in to see your orders.")
    return Order.objects.filter(owner=viewer.user_id).order_by("-pk")


@query.field("myOrders")
async def resolve_my_orders(_: None, info: Info) -> list[Order]:
    """Return the viewer's orders."""
    return await run(list, visible_orders(info))


@subscription.source("myOrders")
async def follow_my_orders(_: None, info: Info) -> AsyncGenerator[list[Order], None]:
    """Yield the viewer's orders: now, and after each change."""
    orders = visible_orders(info)
    async for _change in info.context.feed.watch(orders):
        yield await run(list, orders)


@subscription.field("myOrders")
def resolve_yielded(orders: list[Order], _: Info) -> list[Order]:
    """Return what the source has yielded."""
    return orders


schema = make_executable_schema(
    load_schema_from_path(Path(__file__).with_name("schema.graphql")), [query, subscription]
)
