"""What the article shows, step by step, on our stack."""

from datetime import date
from typing import Any

import pytest
from ariadne import SubscriptionType, make_executable_schema
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from graphql import parse, subscribe

from orders.models import Order
from tests.clients import connect
from tests.server import Server

ORDER = {"date": date(2026, 11, 22), "state": "UNPAID"}


@pytest.fixture
def order(transactional_db: None) -> Order:
    """One order in the table."""
    user = User.objects.create(username="valentine", email="valentine@example.org")
    return Order.objects.create(user=user, **ORDER)


async def test_synchronous_call_in_a_source_is_refused_by_django(order: Order) -> None:
    with pytest.raises(SynchronousOnlyOperation, match="cannot call this from an async context"):
        Order.objects.last()


async def test_synchronous_source_fails_with_the_message_of_the_article() -> None:
    subscription = SubscriptionType()

    @subscription.source("getOrder")
    async def wrong(_: Any, __: Any) -> Any:
        yield Order.objects.last()

    schema = make_executable_schema(
        "type Query { a: Int } type Subscription { getOrder: Int }", subscription
    )
    stream: Any = subscribe(schema, parse("subscription { getOrder }"))
    with pytest.raises(SynchronousOnlyOperation, match="use a thread or sync_to_async"):
        await anext(stream)


async def test_awaited_call_works_without_a_wrapper(order: Order) -> None:
    assert await Order.objects.alast() == order


async def test_following_the_user_needs_select_related(order: Order) -> None:
    bare = await Order.objects.alast()
    assert bare is not None
    with pytest.raises(SynchronousOnlyOperation):
        bare.user.username  # noqa: B018
    joined = await Order.objects.select_related("user").alast()
    assert joined is not None
    assert joined.user.username == "valentine"


async def test_plain_subscription(order: Order, server: Server) -> None:
    async with connect(server.websocket) as socket:
        await socket.subscribe("subscription getLastOrder { getOrder { state date } }")
        assert await socket.next() == {"getOrder": {"state": "UNPAID", "date": "2026-11-22"}}
        await Order.objects.filter(pk=order.pk).aupdate(state="PAID")
        assert await socket.next() == {"getOrder": {"state": "PAID", "date": "2026-11-22"}}


async def test_subscription_with_the_user(order: Order, server: Server) -> None:
    query = "subscription getLastOrder { getOrder { state date user { username email } } }"
    user = {"username": "valentine", "email": "valentine@example.org"}
    async with connect(server.websocket) as socket:
        await socket.subscribe(query)
        expected = {"state": "UNPAID", "date": "2026-11-22", "user": user}
        assert await socket.next() == {"getOrder": expected}
        await sync_to_async(User.objects.filter(pk=order.user_id).update)(email="v@example.org")
        expected["user"] = user | {"email": "v@example.org"}
        assert await socket.next() == {"getOrder": expected}
