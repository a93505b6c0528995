"""The GraphQL contract: each field, each argument, and what each mistake is answered with."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from orders.models import Order
from tests.clients import connect, post
from tests.server import Server

EVERYTHING = "{ id date state user { username email } }"


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user."""
    return User.objects.create(username="ada", email="ada@example.org")


@pytest.fixture
def orders(ada: User) -> list[Order]:
    """Five orders, oldest first; the second and fourth are paid."""
    states = ["UNPAID", "PAID", "UNPAID", "PAID", "UNPAID"]
    day = date(2026, 11, 1)
    return [
        Order.objects.create(user=ada, date=day + timedelta(days=n), state=state)
        for n, state in enumerate(states)
    ]


def ids(orders: list[Order]) -> list[dict[str, str]]:
    """What `{ id }` answers for these orders."""
    return [{"id": str(order.pk)} for order in orders]


async def test_orders_come_newest_first_with_all_fields(
    server: Server, orders: list[Order]
) -> None:
    answer = await post(server.http, f"{{ getOrders {EVERYTHING} }}")
    assert answer["data"]["getOrders"][0] == {
        "id": str(orders[-1].pk),
        "date": "2026-11-05",
        "state": "UNPAID",
        "user": {"username": "ada", "email": "ada@example.org"},
    }
    assert [order["id"] for order in answer["data"]["getOrders"]] == [
        str(order.pk) for order in reversed(orders)
    ]


async def test_orders_are_paged_by_key(server: Server, orders: list[Order]) -> None:
    page = "query ($after: ID) { getOrders(first: 2, after: $after) { id } }"
    seen: list[dict[str, str]] = []
    after = None
    while rows := (await post(server.http, page, after=after))["data"]["getOrders"]:
        assert len(rows) <= 2
        seen += rows
        after = rows[-1]["id"]
    assert seen == ids(orders[::-1])


async def test_orders_are_filtered_by_state(server: Server, orders: list[Order]) -> None:
    answer = await post(server.http, "{ getOrders(state: PAID) { id } }")
    assert answer == {"data": {"getOrders": ids([orders[3], orders[1]])}}


async def test_null_arguments_mean_the_defaults(server: Server, orders: list[Order]) -> None:
    answer = await post(server.http, "{ getOrders(first: null, after: null, state: null) { id } }")
    assert answer == {"data": {"getOrders": ids(orders[::-1])}}


async def test_one_order_by_its_key(server: Server, orders: list[Order]) -> None:
    query = f"query ($id: ID!) {{ getOrder(id: $id) {EVERYTHING} }}"
    answer = await post(server.http, query, id=str(orders[1].pk))
    assert answer["data"]["getOrder"]["state"] == "PAID"
    assert answer["data"]["getOrder"]["user"] == {"username": "ada", "email": "ada@example.org"}


async def test_order_is_created_with_defaults(server: Server, ada: User) -> None:
    query = f'mutation {{ createOrder(username: "ada") {EVERYTHING} }}'
    created = (await post(server.http, query))["data"]["createOrder"]
    order = await Order.objects.aget()
    assert created == {
        "id": str(order.pk),
        "date": timezone.localdate().isoformat(),
        "state": "UNPAID",
        "user": {"username": "ada", "email": "ada@example.org"},
    }
    assert order.user_id == ada.pk


async def test_order_is_created_as_asked(server: Server, ada: User) -> None:
    query = """mutation ($date: Date) {
        createOrder(username: "ada", date: $date, state: PAID) { date state }
    }"""
    answer = await post(server.http, query, date="2024-02-29")
    assert answer == {"data": {"createOrder": {"date": "2024-02-29", "state": "PAID"}}}
    order = await Order.objects.aget()
    assert (order.date, order.state) == (date(2024, 2, 29), "PAID")


async def test_state_is_set_and_set_back(server: Server, orders: list[Order]) -> None:
    query = """mutation ($id: ID!, $state: OrderState!) {
        setOrderState(id: $id, state: $state) { id state user { username } }
    }"""
    for state in ("PAID", "UNPAID"):
        answer = await post(server.http, query, id=orders[0].pk, state=state)
        changed = {"id": str(orders[0].pk), "state": state, "user": {"username": "ada"}}
        assert answer == {"data": {"setOrderState": changed}}
        assert (await Order.objects.aget(pk=orders[0].pk)).state == state


async def test_order_is_deleted(server: Server, orders: list[Order]) -> None:
    query = "mutation ($id: ID!) { deleteOrder(id: $id) }"
    answer = await post(server.http, query, id=orders[0].pk)
    assert answer == {"data": {"deleteOrder": str(orders[0].pk)}}
    assert await Order.objects.acount() == len(orders) - 1


async def test_list_is_live_with_the_arguments_of_the_query(
    server: Server, orders: list[Order]
) -> None:
    async with connect(server.websocket) as socket:
        await socket.subscribe("subscription { getOrders(first: 2, state: UNPAID) { id } }")
        assert await socket.next() == {"getOrders": ids([orders[4], orders[2]])}
        await Order.objects.filter(pk=orders[1].pk).aupdate(state="UNPAID")  # not on this page
        await Order.objects.filter(pk=orders[4].pk).aupdate(state="PAID")
        assert await socket.next() == {"getOrders": ids([orders[2], orders[1]])}


async def test_newest_order_is_null_while_there_is_none(server: Server, ada: User) -> None:
    async with connect(server.websocket) as socket:
        await socket.subscribe("subscription { getOrder { state } }")
        assert await socket.next() == {"getOrder": None}
        await Order.objects.acreate(user=ada)
        assert await socket.next() == {"getOrder": {"state": "UNPAID"}}


async def test_queries_and_mutations_run_over_the_socket_too(server: Server, ada: User) -> None:
    async with connect(server.websocket) as socket:
        await socket.subscribe('mutation { createOrder(username: "ada") { state } }')
        assert await socket.next() == {"createOrder": {"state": "UNPAID"}}
        assert (await socket.receive())["type"] == "complete"


MISTAKES = {
    "first is negative": ("{ getOrders(first: -1) { id } }", "BAD_USER_INPUT"),
    "first is nothing": ("{ getOrders(first: 0) { id } }", "BAD_USER_INPUT"),
    "first is huge": ("{ getOrders(first: 201) { id } }", "BAD_USER_INPUT"),
    "first is no number": ('{ getOrders(first: "x") { id } }', "GRAPHQL_VALIDATION_FAILED"),
    "first does not fit": ("{ getOrders(first: 99999999999) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "after is no key": ('{ getOrders(after: "x") { id } }', "BAD_USER_INPUT"),
    "state is unknown": ("{ getOrders(state: LOST) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "order is unknown": ("{ getOrder(id: 987654321) { id } }", "NOT_FOUND"),
    "id is no key": ('{ getOrder(id: "one") { id } }', "BAD_USER_INPUT"),
    "id is negative": ('{ getOrder(id: "-1") { id } }', "BAD_USER_INPUT"),
    "id is too large": ('{ getOrder(id: "9223372036854775808") { id } }', "BAD_USER_INPUT"),
    "id is the largest": ('{ getOrder(id: "9223372036854775807") { id } }', "NOT_FOUND"),
    "id is of other digits": ('{ getOrder(id: "\u0661\u0662") { id } }', "BAD_USER_INPUT"),
    "id is very long": (f'{{ getOrder(id: "{"9" * 5000}") {{ id }} }}', "BAD_USER_INPUT"),
    "id is long and small": (f'{{ getOrder(id: "{"0" * 5000}1") {{ id }} }}', "BAD_USER_INPUT"),
    "id is missing": ("{ getOrder { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "field is unknown": ("{ getOrders { price } }", "GRAPHQL_VALIDATION_FAILED"),
    "document is broken": ("{ getOrders { id }", "GRAPHQL_PARSE_FAILED"),
    "day does not exist": (
        'mutation { createOrder(username: "ada", date: "2026-02-30") { id } }',
        "BAD_USER_INPUT",
    ),
    "date is short": (
        'mutation { createOrder(username: "ada", date: "20260230") { id } }',
        "BAD_USER_INPUT",
    ),
    "date is a number": (
        'mutation { createOrder(username: "ada", date: 20260201) { id } }',
        "BAD_USER_INPUT",
    ),
    "user is unknown": ('mutation { createOrder(username: "eve") { id } }', "NOT_FOUND"),
    "nobody is named": ("mutation { createOrder { id } }", "BAD_USER_INPUT"),
    "unknown order is paid": (
        "mutation { setOrderState(id: 987654321, state: PAID) { id } }",
        "NOT_FOUND",
    ),
    "unknown order is deleted": ("mutation { deleteOrder(id: 987654321) }", "NOT_FOUND"),
}


async def test_each_mistake_has_a_code_and_changes_nothing(
    server: Server, orders: list[Order], subtests: pytest.Subtests
) -> None:
    before = [row async for row in Order.objects.values()]
    for name, (query, code) in MISTAKES.items():
        with subtests.test(name):
            errors: list[dict[str, Any]] = (await post(server.http, query))["errors"]
            assert [error["extensions"]["code"] for error in errors] == [code]
            assert len(errors[0]["message"]) > 10
    assert [row async for row in Order.objects.values()] == before


async def test_variable_that_is_no_date_is_named(server: Server, ada: User) -> None:
    query = 'mutation ($date: Date) { createOrder(username: "ada", date: $date) { id } }'
    (error,) = (await post(server.http, query, date="tomorrow"))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "$date" in error["message"]
    assert "YYYY-MM-DD" in error["message"]
    assert not await Order.objects.aexists()


async def test_each_field_of_the_schema_is_described(server: Server) -> None:
    query = """{ __schema { types { name kind description
        fields { name description args { name description } }
        enumValues { name description } } } }"""
    types = (await post(server.http, query))["data"]["__schema"]["types"]
    ours = [each for each in types if not each["name"].startswith("__")]
    missing = list(_undescribed(ours))
    assert missing == []


def _undescribed(types: list[dict[str, Any]]) -> Iterator[str]:
    for each in types:
        if each["name"] not in ("Query", "Mutation", "Subscription") and not each["description"]:
            yield each["name"]
        for part in (each["fields"] or []) + (each["enumValues"] or []):
            if not part["description"]:
                yield f"{each['name']}.{part['name']}"
            for argument in part.get("args", []):
                if not argument["description"]:
                    yield f"{each['name']}.{part['name']}({argument['name']})"


@pytest.mark.parametrize("name", ["\x00", "\ud800"])
async def test_text_that_no_database_takes_is_refused(server: Server, name: str) -> None:
    query = "mutation ($name: String) { createOrder(username: $name) { id } }"
    (error,) = (await post(server.http, query, name=name))["errors"]
    assert error["extensions"]["code"] in ("BAD_USER_INPUT", "NOT_FOUND")


async def test_what_a_client_sends_does_not_come_back_many_times_as_large(server: Server) -> None:
    query = "query ($id: ID!) { a: getOrder(id: $id) { id } b: getOrder(id: $id) { id } }"
    answer = await post(server.http, query, id="x" * 100_000)
    assert all(len(error["message"]) <= 500 for error in answer["errors"])
