"""Whom a change of sessions, users, groups and permissions makes be reviewed: those it concerns."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session as SessionRow
from starlette.datastructures import Headers

from app.authentication import django_sessions as module
from app.authentication.asking import Authentication
from app.authentication.django_sessions import DjangoSessions
from app.authentication.tables import viewer_columns
from app.changes.change import Change
from app.changes.feed import Feed, backend_for
from app.transports import revocation as revocation_module
from app.transports.clients import Clients
from app.transports.connection import CHANGED, Close
from app.transports.revocation import Concerned, Revocation
from app.viewer import Credentials, InvalidCredentialError, Session, UnknownViewerError
from tests.clients import PATIENCE_SECONDS, load_session, session_cookie
from tests.transports.strangers import connection_of

pytestmark = pytest.mark.only("postgresql")


class Client:
    """Somebody who is connected, and whom the test sees being closed."""

    def __init__(self, session: Session) -> None:
        async def silent(*_: object) -> None:
            raise NotImplementedError

        self.connection = connection_of(silent, silent, session)  # type: ignore[arg-type]
        self.closed: Close | None = None
        self.connection.close = self._close  # type: ignore[method-assign]

    def _close(self, close: Close | None) -> None:
        self.closed = close

    def check(self, now: float) -> float:
        raise NotImplementedError


@pytest.fixture
def reviewed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the sessions that were loaded for a review."""
    keys: list[str] = []

    class Noting(DjangoSessions):
        async def load(self, key: str) -> Session | None:
            keys.append(key)
            return await super().load(key)

    monkeypatch.setattr(module, "DjangoSessions", Noting)
    monkeypatch.setattr(revocation_module, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(revocation_module, "PAUSE_FACTOR", 0)
    return keys


@pytest.fixture
def clients(transactional_db: None) -> dict[str, Client]:
    """Twenty who are signed in; two are in a group."""
    found = {}
    group = Group.objects.create(name="two")
    for number in range(20):
        user = User.objects.create_user(f"user{number}")
        if number < 2:
            user.groups.add(group)
        key = session_cookie(user).partition("=")[2]
        found[user.username] = Client(load_session(key))
    return found


def everybody() -> Clients:
    """Return nobody yet."""
    return Clients(1000, Authentication(module.DjangoSessions()))


@asynccontextmanager
async def revoking(found: dict[str, Client], reviewed: list[str]) -> AsyncIterator[None]:
    """Within the block they are looked after; what connecting has made be reviewed is over."""
    clients = everybody()
    for each in found.values():
        clients.add(each)
    async with Feed(backend_for("default")) as feed, Revocation(feed, clients):
        await _until(lambda: reviewed.count(_key(found["user19"])) >= 2)
        await asyncio.sleep(0.3)  # until the pause after it is over
        reviewed.clear()
        yield


def _key(client: Client) -> str:
    return client.connection.session.key


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.02)


def sign_in_elsewhere() -> None:
    session_cookie(User.objects.create_user("other"))


def sign_out() -> None:
    user = User.objects.get(username="user5")
    for row in SessionRow.objects.all():
        if row.get_decoded()["_auth_user_id"] == str(user.pk):
            row.delete()


def deactivate() -> None:
    User.objects.filter(username="user5").update(is_active=False)


def permit() -> None:
    permission = Permission.objects.get(codename="change_item")
    User.objects.get(username="user5").user_permissions.add(permission)


def permit_group() -> None:
    Group.objects.get().permissions.add(Permission.objects.get(codename="change_item"))


def leave_group() -> None:
    User.objects.get(username="user1").groups.clear()


@pytest.mark.parametrize(
    ("change", "concerned", "closed"),
    [
        (sign_in_elsewhere, [], []),
        (sign_out, ["user5"], ["user5"]),
        (deactivate, ["user5"], ["user5"]),
        (permit, ["user5"], ["user5"]),
        (permit_group, ["user0", "user1"], ["user0", "user1"]),
        (leave_group, ["user1"], []),
    ],
)
async def test_change_reviews_those_whom_it_concerns(
    change: Callable[[], None],
    concerned: list[str],
    closed: list[str],
    clients: dict[str, Client],
    reviewed: list[str],
) -> None:
    async with revoking(clients, reviewed):
        await sync_to_async(change)()
        last = clients["user19"]
        await sync_to_async(User.objects.filter(username="user19").update)(last_name="x")
        await _until(lambda: reviewed.count(_key(last)) == 2)  # once more, for who was connecting
        assert set(reviewed) == {_key(clients[name]) for name in [*concerned, "user19"]}
        found = {name: each.closed for name, each in clients.items() if each.closed}
        assert found == dict.fromkeys(closed, CHANGED)


def sign_in_often(times: int) -> dict[str, Client]:
    """The clients of somebody who signs in again and again."""
    eve = User.objects.create_user("eve")
    keys = [session_cookie(eve).partition("=")[2] for _ in range(times)]
    return {f"eve{number}": Client(load_session(key)) for number, key in enumerate(keys)}


async def test_nobody_waits_for_a_viewer_with_many_sessions(
    clients: dict[str, Client], reviewed: list[str]
) -> None:
    many = await sync_to_async(sign_in_often)(50)
    async with revoking(many | clients, reviewed):
        reviewed.clear()
        await sync_to_async(sign_out)()
        await User.objects.filter(username__in=["eve", *clients]).aupdate(last_name="x")
        await _until(lambda: len(set(reviewed)) >= len(many) + len(clients))
    hers = {_key(client) for client in many.values()}
    first = list(dict.fromkeys(reviewed))[: len(clients) + 1]
    assert len(hers.intersection(first)) == 1


async def test_nobody_waits_for_a_viewer_who_cannot_be_found_out(
    reviewed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    gone = set(range(200, 300))

    async def authenticate(credentials: Credentials) -> Session:
        number = int(credentials.address)
        reviewed.append(credentials.address)
        if number == 7:
            raise UnknownViewerError("Somebody else is asked who that is.")
        if number in gone:
            raise InvalidCredentialError("Gone.")
        return Session(number, number)

    clients = Clients(1000, Authentication(authenticate))
    found = [Client(Session(number, number)) for number in range(300)]
    for number, each in enumerate(found):
        each.connection.credentials = Credentials(Headers(), str(number))
        clients.add(each)
    feed = Feed(backend_for("default"))
    async with Revocation(feed, clients) as revocation:
        revocation.observe(None)
        await _until(lambda: reviewed.count("7") >= 3)
        assert {number for number, each in enumerate(found) if each.closed} == gone
        gone.add(8)
        revocation.observe([Change("auth_user", ("id",), ("8",))])
        await _until(lambda: found[8].closed is CHANGED)
    assert found[7].closed is None
    assert "1 viewers could not be reviewed" in caplog.text


async def test_pause_after_a_review_of_everybody_delays_nobody_who_is_named(
    reviewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_module, "PAUSE_FACTOR", 1e6)
    monkeypatch.setattr(revocation_module, "MAX_PAUSE_SECONDS", 2 * PATIENCE_SECONDS)
    is_gone = False

    async def authenticate(credentials: Credentials) -> Session:
        reviewed.append(credentials.address)
        if is_gone and credentials.address == "8":
            raise InvalidCredentialError("Gone.")
        return Session(8, 8)

    clients = Clients(1000, Authentication(authenticate))
    client = Client(Session(8, 8))
    client.connection.credentials = Credentials(Headers(), "8")
    clients.add(client)
    async with Feed(backend_for("default")) as feed, Revocation(feed, clients) as revocation:
        revocation.observe(None)
        await _until(lambda: "8" in reviewed)
        is_gone = True
        revocation.observe([Change("auth_user", ("id",), ("8",))])
        await _until(lambda: client.closed is CHANGED)


def test_rows_tell_whose_rights_they_are() -> None:
    columns = viewer_columns()
    assert columns == {
        "auth_user": ("user", "id"),
        "auth_user_groups": ("user", "user_id"),
        "auth_user_user_permissions": ("user", "user_id"),
        "auth_group_permissions": ("group", "group_id"),
        "django_session": ("session", "session_key"),
    }


def test_whoever_leaves_is_forgotten(clients: dict[str, Client]) -> None:
    together = everybody()
    some = list(clients.values())
    for each in some:
        together.add(each)
    user = str(some[3].connection.session.user)
    assert together.signed_in((), [user, "-1"]) == {some[3].connection}
    assert together.signed_in([_key(some[4])]) == {some[4].connection}
    for each in some[:-1]:
        together.discard(each)
    assert together.signed_in() == {some[-1].connection}
    assert together.signed_in((), [user]) == set()


def test_change_of_a_whole_table_concerns_everybody(clients: dict[str, Client]) -> None:
    feed = Feed(backend_for("default"))
    revocation = Revocation(feed, everybody())
    revocation.columns = viewer_columns()
    revocation.observe([Change("auth_group", ("id",), ("1",))])
    assert not revocation.concerned
    revocation.observe([Change("auth_user", ("id",), ("1",))])
    assert revocation.concerned == Concerned(users={"1"})
    revocation.observe([Change("auth_user_groups")])
    assert revocation.concerned.everybody
