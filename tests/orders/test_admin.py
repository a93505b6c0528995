"""Orders in the admin, and how people sign in."""

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import Client

from orders.models import Order
from tests.conftest import StartServer
from tests.server import Server


async def test_admin_lists_filters_searches_and_marks_paid(
    server: Server, admin_client: Client
) -> None:
    """Through Django's own client: the pages themselves."""

    @sync_to_async
    def use() -> None:
        ada = User.objects.create(username="ada", email="ada@example.org")
        bob = User.objects.create(username="bob", email="bob@example.org")
        mine, other = Order.objects.create(user=ada), Order.objects.create(user=bob, state="PAID")
        path = "/admin/orders/order/"

        def rows(query: str) -> set[int]:
            result = admin_client.get(path + query).context["cl"].result_list
            return {order.pk for order in result}

        assert rows("") == {mine.pk, other.pk}
        assert rows("?state__exact=PAID") == {other.pk}
        assert rows("?q=ada@example.org") == {mine.pk}
        assert rows(f"?q={other.pk}") == {other.pk}
        form = {"action": "mark_paid", "_selected_action": [mine.pk]}
        answer = admin_client.post(path, form, follow=True)
        assert "1 orders are paid." in answer.text
        assert Order.objects.get(pk=mine.pk).state == "PAID"

    await use()


async def test_search_does_not_tell_email_addresses(server: Server, client: Client) -> None:
    @sync_to_async
    def found() -> list[int]:
        clerk = User.objects.create(username="clerk", is_staff=True)
        Order.objects.create(user=User.objects.create(username="ada", email="a@example.org"))
        permissions = Permission.objects.filter(codename__in=["view_order", "view_user"])
        counts = []
        for permission in permissions.order_by("content_type__model"):
            clerk.user_permissions.add(permission)
            client.force_login(clerk)
            answer = client.get("/admin/orders/order/?q=a@example")
            counts.append(answer.context["cl"].result_count)
        return counts

    assert await found() == [0, 1]


async def test_everybody_can_sign_in_not_only_staff(
    guarded_server: Server, django_user_model: type[User]
) -> None:
    user = await sync_to_async(User.objects.create_user)("ada", password="s3cret-enough")
    await Order.objects.acreate(user=user)
    async with httpx.AsyncClient() as client:
        await sign_in(client, guarded_server, "ada")
        result = await client.post(guarded_server.http, json={"query": "{ getOrders { state } }"})
    assert result.json() == {"data": {"getOrders": [{"state": "UNPAID"}]}}


async def sign_in(
    client: httpx.AsyncClient, server: Server, username: str, path: str = "/login/"
) -> str:
    """Sign in, and tell where it leads."""
    address = f"http://127.0.0.1:{server.port}{path}"
    page = await client.get(address)
    token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {"username": username, "password": "s3cret-enough", "csrfmiddlewaretoken": token}
    answer = await client.post(address, data=form, headers={"Referer": address})
    assert answer.status_code == 302
    return answer.headers["location"]


@pytest.mark.parametrize(("board", "home"), [("true", "/"), ("false", "/admin/")])
async def test_signing_in_and_out_leads_to_pages_that_are_there(
    board: str, home: str, start_server: StartServer, django_user_model: type[User]
) -> None:
    server = start_server(DEBUG="true", BOARD=board)
    await sync_to_async(User.objects.create_superuser)("ada", password="s3cret-enough")
    origin = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient() as client:
        assert "<title>Sign in | Live orders</title>" in (await client.get(f"{origin}/login/")).text
        assert await sign_in(client, server, "ada") == home
        admin = await client.get(f"{origin}/admin/")
        assert admin.status_code == 200
        assert ("View site" in admin.text) == (board == "true")
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        left = await client.post(f"{origin}/admin/logout/", data=form)
        assert left.headers["location"] == ("/" if board == "true" else "/login/")


@pytest.mark.parametrize("path", ["/login/", "/login/?next=/favicon.ico", "/login/?next=/login/"])
async def test_sign_in_page_does_not_tell_who_is_signed_in(
    path: str, guarded_server: Server, django_user_model: type[User]
) -> None:
    """Another site sees whether an address turns out to be an image."""
    await sync_to_async(User.objects.create_user)("ada", password="s3cret-enough")
    async with httpx.AsyncClient() as client:
        before = await client.get(f"http://127.0.0.1:{guarded_server.port}{path}")
        await sign_in(client, guarded_server, "ada")
        after = await client.get(f"http://127.0.0.1:{guarded_server.port}{path}")
    assert before.status_code == after.status_code == 200
    assert before.headers["content-type"] == after.headers["content-type"]
    assert 'name="password"' in after.text
    assert "not authorized" not in after.text


async def test_signing_in_leads_where_it_was_asked_for(
    guarded_server: Server, django_user_model: type[User]
) -> None:
    await sync_to_async(User.objects.create_user)("ada", password="s3cret-enough")
    for wanted, led in {"/graphql/": "/graphql/", "/login/": "/admin/"}.items():
        async with httpx.AsyncClient() as client:
            assert await sign_in(client, guarded_server, "ada", f"/login/?next={wanted}") == led
