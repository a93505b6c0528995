"""Sessions are loaded when they are asked for: one by one, or many at once."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from starlette.datastructures import Headers

from app.authentication import django_sessions as sessions_module
from app.authentication.django_sessions import LOADS_AT_ONCE, DjangoSessions, may_be_key
from app.authentication.sessions import load_sessions
from app.database.lifespan import opened
from app.viewer import Credentials, Session
from tests.clients import session_cookie

NUMBER = 20


@pytest.fixture
def keys(transactional_db: None) -> list[str]:
    """The sessions of some users, and some that are nobody's."""
    users = [User.objects.create_user(f"user{number}") for number in range(NUMBER)]
    return [session_cookie(user).partition("=")[2] for user in users] + ["forged", "unknown"]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was loaded together."""
    found: list[list[str]] = []

    async def load(keys: list[str]) -> dict[str, Session | None]:
        found.append(keys)
        return await sync_to_async(load_sessions)(keys)

    monkeypatch.setattr(sessions_module, "load_all", load)
    return found


def test_many_are_loaded_by_two_queries(keys: list[str]) -> None:
    load_sessions(keys)  # Django looks up content types once.
    with CaptureQueriesContext(connection) as queries:
        found = load_sessions(keys)
    assert len(queries) == 2
    assert found == {key: load_sessions([key])[key] for key in keys}
    assert [session is None for session in found.values()] == [False] * NUMBER + [True] * 2


async def test_those_who_ask_at_once_are_loaded_together(
    keys: list[str], batches: list[list[str]]
) -> None:
    sessions = DjangoSessions()
    found = await asyncio.gather(*(sessions.load(key) for key in keys))
    assert [session.key if session else None for session in found] == [*keys[:NUMBER], None, None]
    assert [len(batch) for batch in batches] == [1] * LOADS_AT_ONCE + [len(keys) - LOADS_AT_ONCE]


async def test_who_asks_while_a_load_is_under_way_hears_of_what_happened_since(
    keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def load(keys: list[str]) -> dict[str, Session | None]:
        found = await sync_to_async(load_sessions)(keys)
        has_begun.set()
        await may_end.wait()
        return found

    monkeypatch.setattr(sessions_module, "load_all", load)
    sessions = DjangoSessions()
    early = [asyncio.create_task(sessions.load(keys[0])) for _ in range(LOADS_AT_ONCE)]
    await has_begun.wait()
    await asyncio.sleep(0.1)
    await User.objects.filter(username="user0").aupdate(is_active=False)
    late = asyncio.create_task(sessions.load(keys[0]))
    await asyncio.sleep(0)
    may_end.set()
    assert {await each is None for each in early} == {False}
    assert await late is None


async def test_an_error_reaches_all_who_wait_and_nobody_after_them(
    keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = True

    async def load(keys: list[str]) -> dict[str, Session | None]:
        await asyncio.sleep(0)
        if fails:
            raise OSError("The database is away.")
        return await sync_to_async(load_sessions)(keys)

    monkeypatch.setattr(sessions_module, "load_all", load)
    sessions = DjangoSessions()
    found = await asyncio.gather(*(sessions.load(key) for key in keys), return_exceptions=True)
    assert {str(error) for error in found} == {"The database is away."}
    fails = False
    assert await sessions.load(keys[0]) is not None


async def test_who_is_cancelled_takes_nobody_along(keys: list[str]) -> None:
    async with opened():
        sessions = DjangoSessions()
        tasks = [asyncio.create_task(sessions.load(key)) for key in keys * 5]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found[::2])
        assert all(isinstance(each, Session | None) for each in found[1::2])
        assert await sessions.load(keys[1]) is not None
        await sessions.__aexit__()


@pytest.mark.once
def test_a_cookie_is_read_up_to_a_length() -> None:
    def key(cookie: str) -> str:
        cookies = Credentials(Headers({"cookie": cookie}), "").cookies
        return cookies.get("sessionid", "")

    assert key("sessionid=abc; other=1") == "abc"
    assert key("other=" + "x" * 16 * 1024 + "; sessionid=abc") == ""
    assert may_be_key("x" * 1024)
    assert not may_be_key("x" * 2000)
    assert not may_be_key("\0abc")
