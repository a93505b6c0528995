"""Who asks: the session of a cookie, on every transport."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from app.viewer import Session, Viewer, load_session
from tests.clients import connect, post, session_cookie
from tests.items.models import Item
from tests.server import Server

ITEMS = "{ items { owner { username } } }"


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A user with an item."""
    return with_item(User.objects.create(username="ada"))


@pytest.fixture
def bob(transactional_db: None) -> User:
    """Another."""
    return with_item(User.objects.create(username="bob"))


def with_item(user: User) -> User:
    """Give the user an item."""
    Item.objects.create(owner=user)
    return user


def code_of(answer: dict[str, list[dict[str, dict[str, str]]]]) -> str:
    """The code of the one error."""
    (error,) = answer["errors"]
    return error["extensions"]["code"]


SUBSCRIPTION = "subscription { items { owner { username } } }"


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
    query = "subscription { items { id owner { username } } }"
    async with (
        connect(guarded_server.websocket, ada) as adas,
        connect(guarded_server.websocket, bob) as bobs,
    ):
        await adas.subscribe(query)
        await bobs.subscribe(query)
        assert len((await adas.next())["items"]) == 1
        assert len((await bobs.next())["items"]) == 1
        await Item.objects.acreate(owner=ada)
        names = [item["owner"]["username"] for item in (await adas.next())["items"]]
        assert names == ["ada", "ada"]
        await Item.objects.acreate(owner=bob)
        names = [item["owner"]["username"] for item in (await bobs.next())["items"]]
        assert names == ["bob", "bob"]  # nothing came in between


async def test_forged_cookie_is_nobody(guarded_server: Server, ada: User) -> None:
    async with httpx.AsyncClient(headers={"Cookie": "sessionid=forged"}) as client:
        answer = await client.post(guarded_server.http, json={"query": ITEMS})
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
        answer = await client.post(guarded_server.http, json={"query": ITEMS})
    assert code_of(answer.json()) == "UNAUTHENTICATED"


async def test_session_key_that_no_database_takes_is_nobody(guarded_server: Server) -> None:
    headers = {"Cookie": 'sessionid="\\000aaaaaaaaaaaa"'}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(guarded_server.http, json={"query": "{ items { id } }"})
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
