"""Who sees and changes what, on every transport."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User

from app.viewer import Session, Viewer, load_session
from orders.models import Order
from tests.clients import connect, post, session_cookie
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
    """A member of staff who may look, and no more."""
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
    answer = await post(guarded_server.http, ORDERS, user=clerk)
    emails = [order["user"]["email"] for order in answer["data"]["getOrders"]]
    assert emails == ["bob@example.org", "ada@example.org"]


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
        await socket.silence()


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


SUBSCRIPTION = "subscription { getOrders { user { username } } }"


async def over_websocket(server: Server, user: User) -> str:
    """The first result of a subscription."""
    async with connect(server.websocket, user) as socket:
        await socket.subscribe(SUBSCRIPTION)
        return str(await socket.next())


async def over_http(server: Server, user: User) -> str:
    """The same, asked as a query."""
    return str(await post(server.http, SUBSCRIPTION.removeprefix("subscription"), user=user))


async def over_event_stream(server: Server, user: User) -> str:
    """The same as a server-sent event."""
    cookie = await sync_to_async(session_cookie)(user)
    headers = {"Accept": "text/event-stream", "Cookie": cookie}
    async with (
        httpx.AsyncClient(headers=headers) as client,
        client.stream("POST", server.http, json={"query": SUBSCRIPTION}) as answer,
    ):
        return await anext(line async for line in answer.aiter_lines() if line.startswith("data"))


@pytest.mark.parametrize("ask", [over_websocket, over_http, over_event_stream])
async def test_session_cookie_counts_on_every_transport(
    ask: Callable[[Server, User], Awaitable[str]], guarded_server: Server, ada: User, bob: User
) -> None:
    assert "bob" not in await ask(guarded_server, ada)
    assert "ada" in await ask(guarded_server, ada)
    assert "ada" not in await ask(guarded_server, bob)


async def test_live_results_stay_apart(guarded_server: Server, ada: User, bob: User) -> None:
    """Two viewers ask the same; each gets what is theirs, also after a change."""
    query = "subscription { getOrders { id user { username } } }"
    async with (
        connect(guarded_server.websocket, ada) as adas,
        connect(guarded_server.websocket, bob) as bobs,
    ):
        await adas.subscribe(query)
        await bobs.subscribe(query)
        assert len((await adas.next())["getOrders"]) == 1
        assert len((await bobs.next())["getOrders"]) == 1
        await Order.objects.acreate(user=ada)
        names = [order["user"]["username"] for order in (await adas.next())["getOrders"]]
        assert names == ["ada", "ada"]
        await bobs.silence()


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


async def test_forged_cookie_is_nobody(guarded_server: Server, ada: User) -> None:
    async with httpx.AsyncClient(headers={"Cookie": "sessionid=forged"}) as client:
        answer = await client.post(guarded_server.http, json={"query": ORDERS})
    assert code_of(answer.json()) == "UNAUTHENTICATED"


def test_forged_session_is_none_that_must_be_looked_after(ada: User) -> None:
    """Or forged cookies could delay the review of those who are signed in."""
    assert load_session("forged") == Session("", Viewer())
    key = session_cookie(ada).partition("=")[2]
    assert load_session(key).key == key


async def test_deactivated_user_is_nobody(guarded_server: Server, ada: User) -> None:
    cookie = await sync_to_async(session_cookie)(ada)
    await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
    async with httpx.AsyncClient(headers={"Cookie": cookie}) as client:
        answer = await client.post(guarded_server.http, json={"query": ORDERS})
    assert code_of(answer.json()) == "UNAUTHENTICATED"


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
