"""Passwords cannot be guessed at will, and nobody else is kept out by who tries."""

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from asgiref.sync import sync_to_async
from axes.models import AccessAttempt
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from app.web.sign_in import address_of
from tests.clients import PATIENCE_SECONDS
from tests.conftest import StartServer
from tests.server import Server
from tests.web.hashing import CountingHasher

RIGHT, WRONG = "right-passw0rd", "wrong-passw0rd"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
GUESSES, AT_ONCE = 1000, 8
TOO_OFTEN = "Too many tries to sign in"


class CountingServer(Server):
    """The items' server, with password hashes that are counted."""

    settings_module = "tests.web.counting_settings"


@pytest.fixture
def server_kind() -> type[Server]:
    """One that counts."""
    return CountingServer


class Hashes:
    """A file with one byte for each hash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @property
    def count(self) -> int:
        """How many there were."""
        return self.path.stat().st_size


@pytest.fixture
def hashes(tmp_path: Path) -> Hashes:
    """What the server `guarded` counts."""
    return Hashes(tmp_path / "hashes")


@pytest.fixture
def guarded(start_server: StartServer, hashes: Hashes) -> Server:
    """A server with the usual limits: 5 failures of a name, 50 of an address."""
    for name in ("root", "ada"):
        password = CountingHasher().encode(RIGHT, CountingHasher().salt())
        is_root = name == "root"
        User.objects.create(
            username=name, password=password, is_staff=is_root, is_superuser=is_root
        )
    return start_server(HASHES=str(hashes.path))


class Visitor:
    """A browser at an address of its own."""

    def __init__(self, server: Server, address: str, **headers: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(local_address=address),
            base_url=f"http://127.0.0.1:{server.port}",
            timeout=PATIENCE_SECONDS,
            headers=headers,
        )
        self._token = ""

    async def open(self, path: str = "/login/") -> None:
        """Look at the form."""
        page = await self._client.get(path)
        self._token = page.text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]

    async def sign_in(
        self, name: str, password: str, path: str = "/login/", **headers: str
    ) -> httpx.Response:
        """Fill in the form, and send it."""
        if not self._token:
            await self.open(path)
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self._token}
        return await self._client.post(path, data=form, headers=headers)

    async def __aenter__(self) -> "Visitor":
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()


async def sign_in(server: Server, name: str, password: str, address: str = HERE) -> httpx.Response:
    """Sign in once."""
    async with Visitor(server, address) as visitor:
        return await visitor.sign_in(name, password)


def let_pass(minutes: int) -> None:
    """Make all failures as old as if so much time had passed."""
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=minutes))


@pytest.mark.once
async def test_thousand_guesses_cost_few_hashes_and_keep_nobody_else_out(
    guarded: Server, hashes: Hashes
) -> None:
    """Every second at the admin; each with a forged header, of which uvicorn trusts none there."""
    numbers = iter(range(GUESSES))
    statuses: Counter[int] = Counter()
    is_locked = asyncio.Event()

    async def guess() -> None:
        async with Visitor(guarded, ELSEWHERE) as visitor:
            for number in numbers:
                answer = await visitor.sign_in(
                    "root" if number % 2 else f"user {number}",
                    WRONG,
                    "/login/" if number % 4 < 2 else "/admin/login/",
                    **{"X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"},
                )
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    is_locked.set()

    async def others() -> None:
        await is_locked.wait()
        for name in ("ada", "root"):
            assert (await sign_in(guarded, name, RIGHT)).status_code == 302

    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        for _ in range(AT_ONCE):
            group.create_task(guess())

    signed_in = 2
    assert statuses.total() == GUESSES
    assert set(statuses) == {200, 429}
    assert 50 <= hashes.count <= 50 + AT_ONCE + signed_in

    counted = hashes.count
    refused = await sign_in(guarded, "ada", RIGHT, ELSEWHERE)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "900"
    assert "Try again in 15 minutes" in refused.text
    assert "sessionid" not in refused.cookies
    assert hashes.count == counted

    await sync_to_async(let_pass)(14)
    assert (await sign_in(guarded, "ada", RIGHT, ELSEWHERE)).status_code == 429
    await sync_to_async(let_pass)(15)
    assert (await sign_in(guarded, "ada", RIGHT, ELSEWHERE)).status_code == 302


async def test_many_at_once_are_no_more_than_the_limit(guarded: Server, hashes: Hashes) -> None:
    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(Visitor(guarded, ELSEWHERE)) for _ in range(40)]
        await asyncio.gather(*(visitor.open() for visitor in visitors))
        answers = await asyncio.gather(*(each.sign_in("root", WRONG) for each in visitors))
    assert Counter(answer.status_code for answer in answers) == {200: 4, 429: 36}
    assert hashes.count == 5
    assert guarded.log.count(TOO_OFTEN) == 1


async def test_failures_are_counted_by_name_and_address(guarded: Server) -> None:
    async with Visitor(guarded, ELSEWHERE) as visitor:
        statuses = [(await visitor.sign_in("ada", WRONG)).status_code for _ in range(7)]
        assert statuses == [200] * 4 + [429] * 3
        assert (await visitor.sign_in("root", RIGHT)).status_code == 302
    assert (await sign_in(guarded, "ada", RIGHT)).status_code == 302
    [line] = [line for line in guarded.log.splitlines() if TOO_OFTEN in line]
    assert f"{ELSEWHERE} has to wait, at least as 'ada', for 15 minutes." in line
    assert "Too Many Requests: " not in guarded.log  # Django's line for each
    assert WRONG not in guarded.log
    assert RIGHT not in guarded.log


async def test_signing_in_forgets_failures_of_this_name_only(guarded: Server) -> None:
    for name in ("root", "ada"):
        for _ in range(4):
            assert (await sign_in(guarded, name, WRONG)).status_code == 200
    assert (await sign_in(guarded, "ada", RIGHT)).status_code == 302
    assert (await sign_in(guarded, "ada", WRONG)).status_code == 200
    assert (await sign_in(guarded, "root", WRONG)).status_code == 429


async def test_name_that_fits_no_column_is_counted(guarded: Server, hashes: Hashes) -> None:
    """PostgreSQL takes none that is longer than its column, and nothing keeps a line break out."""
    for _ in range(4):
        assert (await sign_in(guarded, f"a\n{'b' * 999}", WRONG)).status_code == 200
    for end in "cd":
        assert (await sign_in(guarded, f"a\n{'b' * 999}{end}", WRONG)).status_code == 429
    assert hashes.count == 5
    assert guarded.log.count(TOO_OFTEN) == 1
    assert not re.search("^b", guarded.log, re.MULTILINE)


async def test_trusted_proxy_tells_the_address(guarded: Server) -> None:
    async with Visitor(guarded, HERE, **{"X-Forwarded-For": "192.0.2.1"}) as visitor:
        statuses = [(await visitor.sign_in("ada", WRONG)).status_code for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2
    assert (await sign_in(guarded, "ada", RIGHT)).status_code == 302
    assert (await AccessAttempt.objects.aget()).ip_address == "192.0.2.1"


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::1", "::"),
        ("unknown", None),
        (None, None),
    ],
)
def test_address_is_the_clients_or_its_networks(told: str | None, counted: str | None) -> None:
    request = HttpRequest()
    request.META = {} if told is None else {"REMOTE_ADDR": told}
    request.META["HTTP_X_FORWARDED_FOR"] = "198.51.100.7"
    assert address_of(request) == counted


@pytest.mark.once
async def test_code_without_a_request_may_try(transactional_db: None) -> None:
    ada = await sync_to_async(User.objects.create_user)("ada", password=RIGHT)
    for _ in range(6):
        assert await aauthenticate(username="ada", password=WRONG) is None
    assert await aauthenticate(username="ada", password=RIGHT) == ada
    assert await sync_to_async(authenticate)(username="ada", password=RIGHT) == ada
    assert await sync_to_async(Client().login)(username="ada", password=RIGHT)
    assert not await AccessAttempt.objects.aexists()
