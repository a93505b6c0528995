"""What the article's two servers have in common: its schema, and a scalar it took from Ariadne."""

from datetime import date
from typing import Any

from ariadne import QueryType, ScalarType, SubscriptionType, make_executable_schema
from django.db.models import QuerySet
from graphql import GraphQLSchema

from orders.models import Order

TYPES = """
    scalar Date
    enum OrderState { PAID UNPAID }
    type User { username: String email: String }
    type Order { id: ID! date: Date state: OrderState user: User }
    type Query { getOrders(first: Int = 50): [Order] }
    type Subscription { getOrder: Order }
"""


def schema_with(source: Any) -> GraphQLSchema:
    """The schema, with `source` behind `getOrder`."""
    subscription, query = SubscriptionType(), QueryType()
    subscription.set_source("getOrder", source)
    subscription.set_field("getOrder", lambda order, _: order)
    query.set_field("getOrders", resolve_orders)
    day = ScalarType("Date", serializer=date.isoformat)
    return make_executable_schema(TYPES, [day, subscription, query])


def plain_orders() -> QuerySet[Order]:
    """Django's own queryset, where the model's manager has this project's."""
    return QuerySet(Order).select_related("user")


async def resolve_orders(_: None, __: Any, first: int) -> list[Order]:
    """The newest orders, by Django's own async iteration."""
    return [order async for order in plain_orders().order_by("-id")[:first]]
