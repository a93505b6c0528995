"""Who asks: the session of a cookie, on every transport."""

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.models import Session as SessionRow
from django.db import models
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from app.authentication.sessions import _users, load_sessions
from app.viewer import Viewer
from tests.clients import connect, load_session, post, session_cookie
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


def is_nobodys(key: str) -> bool:
    """Whether no session has this key any more."""
    return load_sessions([key]) == {key: None}


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
    assert is_nobodys("forged")
    key = session_cookie(ada).partition("=")[2]
    assert load_session(key).key == key


async def test_a_new_subscription_is_decided_by_the_viewer_of_this_moment(
    guarded_server: Server, ada: User
) -> None:
    async with connect(guarded_server.websocket, ada) as socket:
        await socket.subscribe(SUBSCRIPTION)
        assert await socket.next() == {"items": [{"owner": {"username": "ada"}}]}
        await User.objects.filter(pk=ada.pk).aupdate(is_active=False)
        try:
            for query in (SUBSCRIPTION, "subscription { item { id } }"):
                await socket.subscribe(query)
                assert (await socket.next_error())["extensions"] == {"code": "UNAUTHENTICATED"}
        except websockets.ConnectionClosed as closed:  # on a slow machine, before the answer
            code = closed.rcvd and closed.rcvd.code
        else:
            code = 4403
        assert code == 4403


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


def give_permissions(user: User) -> None:
    """Some of the user's own, some by two groups, one by both ways."""
    permissions = list(Permission.objects.order_by("pk")[:6])
    user.user_permissions.add(*permissions[:3])
    for number, group in enumerate(Group.objects.bulk_create([Group(name=n) for n in "ab"])):
        group.permissions.add(*permissions[2 + number : 5 + number])
        user.groups.add(group)


def make_superuser(user: User) -> None:
    """Who has all of them."""
    User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True)


@pytest.mark.parametrize("prepare", [lambda _: None, give_permissions, make_superuser])
def test_session_is_loaded_by_two_queries(
    prepare: Callable[[User], None], ada: User, django_assert_max_num_queries: Any
) -> None:
    prepare(ada)
    key = session_cookie(ada).partition("=")[2]
    with django_assert_max_num_queries(2):
        session = load_session(key)
    user = User.objects.get(pk=ada.pk)
    expected = Viewer(user.pk, user.is_staff, frozenset(user.get_all_permissions()))
    assert session.viewer == expected
    assert session.expires_at == pytest.approx(time.time() + 14 * 24 * 3600, abs=60)


@pytest.mark.parametrize("engine", ["signed_cookies", "cache", "file", "cached_db", "db"])
def test_every_session_engine_tells_the_viewer(
    engine: str, ada: User, settings: Settings, tmp_path: Path
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    key = session_cookie(ada).partition("=")[2].strip('"')
    assert load_session(key).viewer == Viewer(ada.pk)
    assert is_nobodys("forged")


def changed_password(user: User) -> None:
    """After which sessions from before are none."""
    User.objects.filter(pk=user.pk).update(password="another")


def expired(_: User) -> None:
    """Of all sessions."""
    SessionRow.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def deleted(user: User) -> None:
    """Of the user."""
    user.delete()


@pytest.mark.only("postgresql")  # whose plan tells how many rows it has read
def test_viewer_is_loaded_without_the_memberships_of_others(ada: User) -> None:
    group = Group.objects.create(name="Everybody")
    group.permissions.set(Permission.objects.all())
    others = User.objects.bulk_create(User(username=f"user {number}") for number in range(300))
    group.user_set.set([ada, *others])
    query = _users().filter(pk=ada.pk)
    assert len(query.get().live_permissions) == Permission.objects.count()
    (plan,) = json.loads(query.explain(analyze=True, format="json"))
    read = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in _nodes(plan["Plan"])
        if node.get("Relation Name") == "auth_user_groups"
    ]
    assert read
    assert sum(read) <= 1


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@pytest.mark.parametrize("change", [changed_password, expired, deleted])
def test_session_that_is_not_valid_is_nobodys_and_stays_as_it_is(
    change: Callable[[User], None], ada: User
) -> None:
    key = session_cookie(ada).partition("=")[2]
    change(ada)
    assert is_nobodys(key)
    assert SessionRow.objects.filter(session_key=key).exists()


def test_session_signed_with_the_secret_of_before_is_valid(ada: User, settings: Settings) -> None:
    key = session_cookie(ada).partition("=")[2]
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
    assert load_session(key).viewer == Viewer(ada.pk)
    settings.SECRET_KEY_FALLBACKS = []
    assert is_nobodys(key)


class EverybodyMay(ModelBackend):
    """A backend that gives a permission of its own."""

    def get_all_permissions(self, *_: Any) -> set[str]:
        """Whatever the database says."""
        return {"items.see"}


def test_another_backend_is_asked(ada: User, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.EverybodyMay"]
    key = session_cookie(ada).partition("=")[2]
    assert load_session(key).viewer == Viewer(ada.pk, permissions=frozenset({"items.see"}))


class RefusesSome(BaseBackend):
    """A backend that has a say in who may sign in, and in nothing else."""


class GivesPermission(BaseBackend):
    """A backend that keeps no sessions, and gives everybody a permission."""

    def get_user_permissions(self, *_: Any, **__: Any) -> set[str]:
        """Beside what others give."""
        return {"items.see"}


class KnowsUsers(BaseBackend):
    """A backend that keeps sessions."""

    def get_user(self, user_id: Any) -> Any:
        """By its own rule."""
        return User.objects.filter(pk=user_id).first()


MODEL = "django.contrib.auth.backends.ModelBackend"


@pytest.mark.parametrize("other", ["app.web.sign_in.Guard", f"{__name__}.RefusesSome"])
@pytest.mark.parametrize("is_first", [True, False])
def test_backend_that_tells_nothing_costs_nothing(
    other: str,
    is_first: bool,
    ada: User,
    settings: Settings,
    django_assert_max_num_queries: Any,
) -> None:
    settings.AUTHENTICATION_BACKENDS = [other, MODEL] if is_first else [MODEL, other]
    give_permissions(ada)
    key = key_of(ada, MODEL)
    with django_assert_max_num_queries(2):
        viewer = load_session(key).viewer
    assert viewer == Viewer(ada.pk, permissions=frozenset(ada.get_all_permissions()))


def test_session_of_a_backend_that_tells_nothing_is_nobodys(ada: User, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.RefusesSome", MODEL]
    assert is_nobodys(key_of(ada, f"{__name__}.RefusesSome"))


def test_permissions_of_a_second_backend_count(ada: User, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [MODEL, f"{__name__}.GivesPermission"]
    expected = Viewer(ada.pk, permissions=frozenset({"items.see"}))
    assert load_session(key_of(ada, MODEL)).viewer == expected


def test_second_backend_may_know_users(ada: User, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [MODEL, f"{__name__}.KnowsUsers"]
    assert load_session(key_of(ada, f"{__name__}.KnowsUsers")).viewer == Viewer(ada.pk)


def key_of(user: User, backend: str) -> str:
    """The key of a session that began with this backend."""
    client = Client()
    client.force_login(user, backend)
    return str(client.session.session_key)


class Plain(AbstractBaseUser):
    """A user without any of the usual columns."""

    name = models.CharField(max_length=9, unique=True)
    USERNAME_FIELD = "name"

    class Meta:
        app_label = "items"
        managed = False


class PlainBackend(BaseBackend):
    """Knows one."""

    def get_user(self, user_id: Any) -> Any:
        """Whoever is asked for."""
        return Plain(pk=user_id, name="plain", password="!")


def test_user_model_without_the_usual_columns(transactional_db: None, settings: Settings) -> None:
    settings.AUTH_USER_MODEL = "items.Plain"
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.PlainBackend"]
    store = DatabaseSession()
    store[SESSION_KEY], store[BACKEND_SESSION_KEY] = "7", f"{__name__}.PlainBackend"
    store[HASH_SESSION_KEY] = Plain(password="!").get_session_auth_hash()
    store.create()
    assert load_session(str(store.session_key)).viewer == Viewer(7)
