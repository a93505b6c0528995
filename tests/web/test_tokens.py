"""Signing in for a bearer token, with no cookie in it."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest
from django.test import AsyncClient, AsyncRequestFactory
from django.utils import timezone
from pytest_django import Settings

from app.authentication.sessions import load_sessions
from app.viewer import Viewer
from app.web.tokens import MAX_BODY_BYTES, token_view
from tests.clients import PATIENCE_SECONDS, connect, session_cookie
from tests.conftest import StartServer
from tests.items.owners import create_owners
from tests.protocols.raw import closing
from tests.server import Server
from tests.web.hashing import CountingHasher
from tests.web.test_sign_in import CountingServer

RIGHT, WRONG = "right-passw0rd", "wrong-passw0rd"
PAGE = "https://app.example"
ITEMS = "{ items { owner { username } } }"
MINE = {"items": [{"owner": {"username": "ada"}}]}


@pytest.fixture
def server_kind() -> type[Server]:
    """One whose passwords are hashed quickly."""
    return CountingServer


@pytest.fixture
def ada(transactional_db: None) -> User:
    """Who has a password, and an item."""
    return create_owners(CountingHasher().encode(RIGHT, CountingHasher().salt()))


@pytest.fixture
def server(share_server: StartServer, ada: User) -> Server:
    """A server as in production, which pages of another origin may use."""
    return share_server(CountingServer, CORS_ALLOWED_ORIGINS=PAGE)


async def ask(server: Server, method: str = "POST", **arguments: Any) -> httpx.Response:
    """Send one request to the endpoint. Its answer must set no cookie."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        answer = await client.request(method, f"http://127.0.0.1:{server.port}/token/", **arguments)
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def sign_in(server: Server, password: str = RIGHT) -> httpx.Response:
    """Sign in as ada."""
    return await ask(server, json={"username": "ada", "password": password})


async def token_of(server: Server) -> str:
    """Ada's."""
    return str((await sign_in(server)).json()["token"])


def bearer(token: str) -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {token}"}


async def test_token_tells_who_asks_on_every_transport(server: Server, ada: User) -> None:
    answer = await sign_in(server)
    assert answer.status_code == 200
    key, expires = answer.json()["token"], datetime.fromisoformat(answer.json()["expires"])
    assert timedelta(days=13) < expires - timezone.now() < timedelta(days=15)
    await ada.arefresh_from_db()
    assert ada.last_login is not None  # by Django's signal

    async with httpx.AsyncClient(headers=bearer(key)) as client:
        found = await client.post(server.http, json={"query": ITEMS})
        assert found.json() == {"data": MINE}
        stream = {"Accept": "text/event-stream"}
        found = await client.post(server.http, json={"query": ITEMS}, headers=stream)
        assert json.dumps(MINE, separators=(",", ":")) in found.text
    for payload in (bearer(key), {"token": key}, {"authorization": f"bearer {key}"}):
        async with connect(server.websocket, payload=payload) as socket:
            await socket.subscribe(f"subscription {ITEMS}")
            assert await socket.next() == MINE
    async with connect(server.websocket, headers=bearer(key)) as socket:
        await socket.subscribe(f"subscription {ITEMS}")
        assert await socket.next() == MINE


@pytest.mark.once
async def test_wrong_password_is_401(server: Server) -> None:
    answer = await sign_in(server, WRONG)
    assert answer.status_code == 401
    assert answer.json() == {"error": "The user name or the password is wrong."}
    assert answer.headers["www-authenticate"] == "Bearer"
    assert WRONG not in server.log
    assert not await Session.objects.aexists()


@pytest.mark.once
@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '"ada"',
        "[" * 1000,
        "{}",
        '{"username": "ada"}',
        '{"username": "ada", "password": ""}',
        '{"username": "ada", "password": 7}',
        '{"username": ["ada"], "password": "x"}',
        '{"username": "ada\\u0000", "password": "x"}',
        '{"username": "ada", "password": "\\ud800"}',
        b'{"username": "ada", "password": "\xff"}',
    ],
)
async def test_what_is_malformed_is_400(body: str | bytes, server: Server) -> None:
    answer = await ask(server, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.once
async def test_only_short_json_is_read(server: Server) -> None:
    """What a page of others can send without asking first, is not."""
    login = {"username": "ada", "password": RIGHT}
    assert (await ask(server, data=login)).status_code == 415
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": kind}
        answer = await ask(server, content=json.dumps(login), headers=headers)
        assert answer.status_code == 415
    login["more"] = "x" * MAX_BODY_BYTES
    assert (await ask(server, json=login)).status_code == 413

    async def parts() -> Any:
        yield json.dumps(login).encode()

    headers = {"Content-Type": "application/json"}
    assert (await ask(server, content=parts(), headers=headers)).status_code == 413
    answer = await ask(server, "GET")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, DELETE, OPTIONS")


@pytest.mark.once
async def test_cookies_are_not_looked_at(server: Server, ada: User) -> None:
    """Who signs in so stays who they are by cookie, and no page signs a visitor in."""
    cookie = await sync_to_async(session_cookie)(await User.objects.aget(username="bob"))
    before = await Session.objects.aget()
    headers = {"Cookie": f"{cookie}; csrftoken={'x' * 32}", "Sec-Fetch-Site": "cross-site"}
    login = {"username": "ada", "password": RIGHT}
    key = (await ask(server, json=login, headers=headers)).json()["token"]
    after = await Session.objects.aget(pk=before.pk)
    assert (after.session_data, after.expire_date) == (before.session_data, before.expire_date)
    assert (await ask(server, "DELETE", headers={**headers, **bearer(key)})).status_code == 204
    assert (await ask(server, "DELETE", headers=headers)).status_code == 401
    assert [each.pk async for each in Session.objects.all()] == [before.pk]


@pytest.mark.once
@pytest.mark.parametrize("cookies", [{"sessionid": "stale", "csrftoken": "!"}, {"sessionid": ""}])
async def test_no_cookie_is_set_whatever_came(
    cookies: dict[str, str], ada: User, settings: Settings
) -> None:
    """Django would renew, replace or drop them."""
    settings.SESSION_SAVE_EVERY_REQUEST = True
    settings.PASSWORD_HASHERS = ["tests.web.hashing.CountingHasher"]
    client = AsyncClient(enforce_csrf_checks=True)
    for password, status in ((RIGHT, 200), (WRONG, 401)):
        for name, value in cookies.items():
            client.cookies[name] = value
        answer = await client.post(
            "/token/", {"username": "ada", "password": password}, content_type="application/json"
        )
        assert answer.status_code == status
        assert not answer.cookies


async def test_signing_out_ends_the_session_and_its_sockets(server: Server) -> None:
    key, other = await token_of(server), await token_of(server)
    assert key != other
    async with (
        connect(server.websocket, payload=bearer(key)) as socket,
        connect(server.websocket, payload=bearer(other)) as stays,
    ):
        assert (await ask(server, "DELETE", headers=bearer(key))).status_code == 204
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await closing(socket.connection) == (4403, "Forbidden: the viewer has changed")
        await stays.subscribe(f"subscription {ITEMS}")
        assert await stays.next() == MINE
    async with httpx.AsyncClient(headers=bearer(key)) as client:
        answer = await client.post(server.http, json={"query": ITEMS})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await ask(server, "DELETE", headers=bearer(key))).status_code == 204
    for wrong in ("Bearer", "Basic YTpi", f"Bearer {'x' * 2000}", "Token abc", ""):
        answer = await ask(server, "DELETE", headers={"Authorization": wrong})
        assert (answer.status_code, list(answer.json())) == (401, ["error"])


async def test_too_many_tries_are_429(start_server: StartServer, ada: User) -> None:
    server = start_server()
    statuses = [(await sign_in(server, WRONG)).status_code for _ in range(6)]
    assert statuses == [401] * 4 + [429] * 2
    answer = await sign_in(server)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "900"
    assert answer.json() == {"error": "Signing in has failed too often. Try again in 900 seconds."}
    assert not await Session.objects.aexists()
    assert server.log.count("Too many tries to sign in") == 1


async def test_many_tries_at_once_are_no_more(start_server: StartServer, ada: User) -> None:
    server = start_server()
    answers = await asyncio.gather(*(sign_in(server, WRONG) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {401: 4, 429: 16}


@pytest.mark.once
async def test_pages_of_allowed_origins_may_ask(server: Server) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    login = {"username": "ada", "password": RIGHT}
    for origin, allowed in ((PAGE, PAGE), ("https://elsewhere.example", None)):
        preflight = await ask(server, "OPTIONS", headers={"Origin": origin, **asks})
        answer = await ask(server, json=login, headers={"Origin": origin})
        wrong = await ask(server, content="{", headers={"Origin": origin})
        for each in (preflight, answer, wrong):
            assert each.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in each.headers
            assert each.headers["vary"] == "Origin"
        assert preflight.headers["access-control-allow-methods"] == "POST, DELETE, OPTIONS"
        assert "content-type" in preflight.headers["access-control-allow-headers"]
        assert "authorization" in preflight.headers["access-control-allow-headers"]


class Bare(AbstractBaseUser):
    """A user without any of the usual columns."""

    name = models.CharField(max_length=9, unique=True)
    last_login = None
    USERNAME_FIELD = "name"

    class Meta:
        app_label = "items"
        managed = False

    def save(self, *_: Any, **__: Any) -> None:
        """There is no table."""


class PlainBackend(BaseBackend):
    """Knows one, and looks where it runs."""

    def authenticate(
        self,
        request: HttpRequest | None,  # noqa: ARG002 - Django passes it by name or not
        **credentials: Any,
    ) -> Any:
        """Let "plain" in. Raise RuntimeError on an event loop, which hashing would stop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return (
                self.get_user(7) if credentials == {"username": "plain", "password": "x"} else None
            )
        raise RuntimeError("Passwords are hashed on the event loop.")

    def get_user(self, user_id: Any) -> Any:
        """Whoever is asked for."""
        return Bare(pk=user_id, name="plain", password="!")


@pytest.mark.once
async def test_user_model_without_the_usual_columns(
    transactional_db: None, settings: Settings
) -> None:
    settings.AUTH_USER_MODEL = "items.Bare"
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.PlainBackend"]
    requests = AsyncRequestFactory()
    for name in ("username", "name"):
        login = {name: "plain", "password": "x"}
        answer = await token_view()(
            requests.post("/token/", login, content_type="application/json")
        )
        key = json.loads(answer.content)["token"]
        session = (await sync_to_async(load_sessions)([key]))[key]
        assert session is not None
        assert session.viewer == Viewer(7)
    out = requests.delete("/token/", headers=bearer(key))
    assert (await token_view()(out)).status_code == 204
    assert await sync_to_async(load_sessions)([key]) == {key: None}


async def test_a_project_may_ask_for_more_than_a_password(ada: User) -> None:
    def check(request: HttpRequest, user: User, given: Mapping[str, Any]) -> None:
        if (request.method, user, given.get("code")) != ("POST", ada, "123"):
            raise PermissionDenied("The code is wrong.")

    ada.set_password(RIGHT)  # hashed as this process does it
    await ada.asave()
    view, requests = token_view(check), AsyncRequestFactory()
    login = {"username": "ada", "password": RIGHT}
    for code, status in (("000", 403), ("123", 200)):
        content = login | {"code": code}
        answer = await view(requests.post("/token/", content, content_type="application/json"))
        assert answer.status_code == status
        if status == 403:
            assert json.loads(answer.content) == {"error": "The code is wrong."}
            assert not await Session.objects.aexists()
