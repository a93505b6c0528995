"""What can be asked and followed."""

from collections.abc import AsyncGenerator
from typing import Any

import strawberry
import strawberry_django
from django.db.models import QuerySet
from graphql import GraphQLError
from strawberry_django.auth.utils import get_current_user

from benchmarks.adoption.shop.models import Order


def visible_orders(user: Any) -> QuerySet[Order]:
    """What this user may see."""
    if not user.is_authenticated:
        raise GraphQLError("Sign in to see your orders.")
    return Order.objects.filter(owner=user).order_by("-pk")


@strawberry_django.type(Order, name="Order")
class OrderType:
    """What a customer has ordered."""

    id: strawberry.auto
    item: strawberry.auto
    state: strawberry.auto


@strawberry.type
class Query:
    """What can be asked."""

    @strawberry_django.field
    def my_orders(self, info: strawberry.Info) -> list[OrderType]:
        """The viewer's own, the newest first."""
        return visible_orders(get_current_user(info))  # type: ignore[return-value]


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def my_orders(self, info: strawberry.Info) -> AsyncGenerator[list[OrderType], None]:
        """The same: now, and after each change that concerns them."""
        user = get_current_user(info)
        ws = info.context["request"]
        async with ws.listen_to_channel("orders.changed", groups=[f"orders-{user.pk}"]) as changes:
            yield [order async for order in visible_orders(user)]  # type: ignore[misc]
            async for _ in changes:
                yield [order async for order in visible_orders(user)]  # type: ignore[misc]


schema = strawberry.Schema(Query, subscription=Subscription)
