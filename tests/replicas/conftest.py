"""A primary, a streaming replica of it under Django's alias `replica1`, and a feed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

import settings as project
from app.changes.feed import Feed, backend_for
from app.changes.replicas import Replicas
from app.changes.routing import begin_reading, replica_read
from app.database.lifespan import opened
from tests.clients import PATIENCE_SECONDS
from tests.conftest import TEST_DATABASE
from tests.items.models import Item
from tests.postgresql import PostgreSQL
from tests.replication import Standby, standby

ROUTER = "app.ReplicaRouter"


@contextmanager
def aliases(settings: Settings, *replicas: Standby) -> Iterator[None]:
    """The settings of a project whose replicas these are."""
    names = [f"replica{number}" for number, _ in enumerate(replicas, 1)]
    for name, each in zip(names, replicas, strict=True):
        config = project.database(each.url(TEST_DATABASE))
        connections.settings[name] = connections.configure_settings({"default": config})["default"]
    try:
        settings.LIVE_REPLICAS = names
        settings.DATABASE_ROUTERS = [ROUTER]
        yield
    finally:
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
        for name in names:
            connections[name].close()
            del connections[name], connections.settings[name]


@pytest.fixture
def owner(transactional_db: None) -> User:
    """Whose items are followed."""
    return User.objects.create_user("ada")


@pytest.fixture(scope="session")
def lasting_standby(postgresql: PostgreSQL, django_db_setup: None) -> Iterator[Standby]:
    """A standby for many tests."""
    with standby(postgresql) as found:
        yield found


@pytest.fixture
def replica(
    lasting_standby: Standby, owner: User, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[Standby]:
    """A replica in the settings, which are patient with it, that still is one in the end."""
    settings.LIVE_REPLICA_SECONDS = PATIENCE_SECONDS
    with aliases(settings, lasting_standby), django_db_blocker.unblock():
        yield lasting_standby
    lasting_standby.set(recovery_min_apply_delay="0")
    lasting_standby.reload()
    lasting_standby.resume()


@pytest.fixture
def own_replica(
    postgresql: PostgreSQL, owner: User, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> Iterator[Standby]:
    """A replica in the settings that nobody else needs."""
    with standby(postgresql) as found, aliases(settings, found), django_db_blocker.unblock():
        yield found


class Follower:
    """A source: what it has read first and last, and from which servers."""

    def __init__(self, feed: Feed, owner: User) -> None:
        self.names: list[str] = []
        self.first_names: list[str] | None = None
        self.servers: list[str | None] = []
        self._feed = feed
        self._owner = owner

    def server(self) -> str | None:
        """Which one its last round has read."""
        return self.servers[-1]

    async def follow(self) -> None:
        """Follow them for ever, and begin again when a replica dies, as a shared operation does."""
        while True:
            with suppress(OperationalError):
                await self._follow()
            begin_reading()
            await asyncio.sleep(0.05)

    async def _follow(self) -> None:
        items = Item.objects.filter(owner=self._owner).order_by("pk")
        async for _ in self._feed.watch(items):
            found = [item async for item in items]
            assert {item._state.db for item in found} <= {replica_read() or DEFAULT_DB_ALIAS}
            self.names = [item.name for item in found]
            self.first_names = self.names if self.first_names is None else self.first_names
            self.servers.append(replica_read())

    async def sees(self, *names: str) -> None:
        """Wait until it has read these."""
        await until(lambda: self.names == list(names))


@asynccontextmanager
async def following(owner: User, count: int = 1) -> AsyncIterator[tuple[Feed, list[Follower]]]:
    """A feed that trusts all its replicas, and sources that have had a first round."""
    async with opened(threads=2), Feed(backend_for("default")) as feed:
        await trusted(feed)
        followers = [Follower(feed, owner) for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.follow()) for each in followers]
            await until(lambda: all(each.servers for each in followers))
            yield feed, followers
            for task in tasks:
                task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def trusted(feed: Feed, *, is_trusted: bool = True) -> None:
    """Return when all replicas serve, or none does."""
    await until(lambda: {each.serves for each in replicas_of(feed).all} == {is_trusted})


def replicas_of(feed: Feed) -> Replicas:
    """The feed's replicas."""
    assert feed.replicas is not None
    return feed.replicas


async def write(owner: User, name: str) -> None:
    """Create an item, as a view of Django's does."""
    await sync_to_async(Item.objects.create)(owner=owner, name=name)
