"""Who sees and changes what, on every transport."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User

from app.viewer import Viewer
from orders.models import Order
from tests.clients import connect, post
from tests.server import Server

ORDERS = "{ getOrders { user { username email } } }"


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user with an order."""
    return with_order(User.objects.create(username="ada", email="ada@example.org"))


@pytest.fixture
def bob(transactional_db: None) -> User:
    """Another."""
    return with_order(User.objects.create(username="bob", email="bob@example.org"))


@pytest.fixture
def clerk(transactional_db: None) -> User:
    """A member of staff who may look at orders, and no more."""
    return with_permissions("clerk", "view_order")


def with_order(user: User) -> User:
    """Give the user an order."""
    Order.objects.create(user=user)
    return user


def with_permissions(name: str, *codenames: str) -> User:
    """A member of staff with these permissions."""
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def code_of(answer: dict[str, list[dict[str, dict[str, str]]]]) -> str:
    """The code of the one error."""
    (error,) = answer["errors"]
    return error["extensions"]["code"]


async def test_user_sees_own_orders_only(guarded_server: Server, ada: User, bob: User) -> None:
    answer = await post(guarded_server.http, ORDERS, user=ada)
    own = {"user": {"username": "ada", "email": "ada@example.org"}}
    assert answer == {"data": {"getOrders": [own]}}


async def test_staff_with_permission_sees_all(
    guarded_server: Server, ada: User, bob: User, clerk: User
) -> None:
    answer = await post(guarded_server.http, "{ getOrders { user { username } } }", user=clerk)
    names = [order["user"]["username"] for order in answer["data"]["getOrders"]]
    assert names == ["bob", "ada"]


async def test_email_is_for_its_owner_and_who_may_view_users(
    guarded_server: Server, ada: User, bob: User, clerk: User
) -> None:
    refused = await post(guarded_server.http, ORDERS, user=clerk)
    assert {error["extensions"]["code"] for error in refused["errors"]} == {"FORBIDDEN"}
    assert "@" not in str(refused["data"])
    manager = await sync_to_async(with_permissions)("manager", "view_order", "view_user")
    answer = await post(guarded_server.http, ORDERS, user=manager)
    emails = [order["user"]["email"] for order in answer["data"]["getOrders"]]
    assert emails == ["bob@example.org", "ada@example.org"]


async def test_order_for_somebody_else_does_not_tell_their_email(
    guarded_server: Server, bob: User
) -> None:
    seller = await sync_to_async(with_permissions)("seller", "add_order")
    query = 'mutation { createOrder(username: "bob") { user { username email } } }'
    answer = await post(guarded_server.http, query, user=seller)
    assert code_of(answer) == "FORBIDDEN"
    assert answer["data"] == {"createOrder": {"user": {"username": "bob", "email": None}}}


async def test_staff_without_permission_sees_own_only(guarded_server: Server, ada: User) -> None:
    intern = await sync_to_async(with_permissions)("intern")
    assert await post(guarded_server.http, ORDERS, user=intern) == {"data": {"getOrders": []}}


async def test_permission_without_being_staff_is_not_enough(
    guarded_server: Server, ada: User, clerk: User
) -> None:
    await User.objects.filter(pk=clerk.pk).aupdate(is_staff=False)
    assert await post(guarded_server.http, ORDERS, user=clerk) == {"data": {"getOrders": []}}


async def test_nobody_is_told_to_sign_in(guarded_server: Server, ada: User) -> None:
    order = await Order.objects.aget()
    for query in (
        ORDERS,
        f"{{ getOrder(id: {order.pk}) {{ id }} }}",
        "mutation { createOrder { id } }",
        f"mutation {{ setOrderState(id: {order.pk}, state: PAID) {{ id }} }}",
        f"mutation {{ deleteOrder(id: {order.pk}) }}",
    ):
        assert code_of(await post(guarded_server.http, query)) == "UNAUTHENTICATED"
    assert (await Order.objects.aget()).state == "UNPAID"


@pytest.mark.parametrize("field", ["getOrder { id }", "getOrders { id }"])
async def test_nobody_cannot_subscribe(guarded_server: Server, ada: User, field: str) -> None:
    async with connect(guarded_server.websocket) as socket:
        await socket.subscribe(f"subscription {{ {field} }}")
        assert (await socket.next_error())["extensions"]["code"] == "UNAUTHENTICATED"
        await socket.subscribe("{ __typename }")
        assert await socket.next() == {"__typename": "Query"}  # nothing came in between


async def test_order_of_somebody_else_does_not_exist(
    guarded_server: Server, ada: User, bob: User
) -> None:
    order = await Order.objects.aget(user=bob)
    for query in (
        f"{{ getOrder(id: {order.pk}) {{ id }} }}",
        f"mutation {{ setOrderState(id: {order.pk}, state: PAID) {{ id }} }}",
        f"mutation {{ deleteOrder(id: {order.pk}) }}",
    ):
        assert code_of(await post(guarded_server.http, query, user=ada)) == "NOT_FOUND"
    assert (await Order.objects.aget(pk=order.pk)).state == "UNPAID"


async def test_owner_may_write(guarded_server: Server, ada: User) -> None:
    async def run(query: str) -> Any:
        answer = await post(guarded_server.http, f"mutation {{ {query} }}", user=ada)
        return answer["data"]

    created = await run("createOrder { id user { username } }")
    assert created["createOrder"]["user"] == {"username": "ada"}
    id_ = created["createOrder"]["id"]
    changed = await run(f"setOrderState(id: {id_}, state: PAID) {{ state }}")
    assert changed == {"setOrderState": {"state": "PAID"}}
    assert await run(f"deleteOrder(id: {id_})") == {"deleteOrder": id_}


async def test_looking_does_not_mean_writing(
    guarded_server: Server, ada: User, clerk: User
) -> None:
    order = await Order.objects.aget(user=ada)
    for query in (
        'mutation { createOrder(username: "ada") { id } }',
        'mutation { createOrder(username: "nobody") { id } }',
        f"mutation {{ setOrderState(id: {order.pk}, state: PAID) {{ id }} }}",
        f"mutation {{ deleteOrder(id: {order.pk}) }}",
    ):
        assert code_of(await post(guarded_server.http, query, user=clerk)) == "FORBIDDEN"
    assert (await Order.objects.aget()).state == "UNPAID"


async def test_permissions_allow_writing(guarded_server: Server, ada: User) -> None:
    names = ("view_order", "add_order", "change_order", "delete_order")
    manager = await sync_to_async(with_permissions)("manager", *names)
    order = await Order.objects.aget(user=ada)
    for query in (
        'mutation { createOrder(username: "ada") { id } }',
        f"mutation {{ setOrderState(id: {order.pk}, state: PAID) {{ id }} }}",
        f"mutation {{ deleteOrder(id: {order.pk}) }}",
    ):
        assert "errors" not in await post(guarded_server.http, query, user=manager)
    assert [order.user_id async for order in Order.objects.all()] == [ada.pk]


async def test_order_that_moves_to_another_user_leaves_and_arrives(
    guarded_server: Server, ada: User, bob: User
) -> None:
    query = "subscription { getOrder { user { username } } }"
    async with (
        connect(guarded_server.websocket, ada) as adas,
        connect(guarded_server.websocket, bob) as bobs,
    ):
        await adas.subscribe(query)
        await bobs.subscribe(query)
        assert await adas.next() == {"getOrder": {"user": {"username": "ada"}}}
        assert await bobs.next() == {"getOrder": {"user": {"username": "bob"}}}
        await Order.objects.filter(user=bob).aupdate(user=ada)
        assert await bobs.next() == {"getOrder": None}


def test_visible_to_is_the_rule(ada: User, bob: User) -> None:
    def seen_by(viewer: Viewer) -> set[int]:
        return {order.user_id for order in Order.objects.visible_to(viewer)}

    both = {ada.pk, bob.pk}
    may_view = frozenset({"orders.view_order"})
    assert seen_by(Viewer()) == set()
    assert seen_by(Viewer(user_id=ada.pk)) == {ada.pk}
    assert seen_by(Viewer(user_id=ada.pk, permissions=may_view)) == {ada.pk}
    assert seen_by(Viewer(user_id=ada.pk, is_staff=True)) == {ada.pk}
    assert seen_by(Viewer(user_id=ada.pk, is_staff=True, permissions=may_view)) == both
    assert seen_by(Viewer(is_unrestricted=True)) == both
