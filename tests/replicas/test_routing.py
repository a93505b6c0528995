"""What a source reads comes from its replica; what it writes, and all else, is the primary's."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from pytest_django import Settings

from app import checks
from app.changes.feed import Feed, backend_for
from app.changes.routing import READING, ReplicaRouter, begin_reading, reading_primary
from app.changes.sqlite import SQLiteBackend
from app.database.transaction import atomic
from tests.items.models import Item, Part

ALIAS = "replica1"


@pytest.fixture(autouse=True)
def _settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A replica's alias; nothing connects to it."""
    token = READING.set(None)
    config = dict(connections.settings["default"]) | {"ENGINE": "django.db.backends.postgresql"}
    monkeypatch.setitem(connections.settings, ALIAS, config)
    settings.LIVE_REPLICAS = [ALIAS]
    settings.DATABASE_ROUTERS = ["app.ReplicaRouter"]
    yield
    READING.reset(token)
    connections[ALIAS].close()
    del connections[ALIAS]


def read_there(instance: Any) -> Any:
    """The instance, as if it had been read from the replica."""
    instance._state.db = ALIAS
    return instance


pytestmark = pytest.mark.once


def test_only_sources_read_from_a_replica() -> None:
    assert router.db_for_read(Item) == "default"
    begin_reading().replica = ALIAS
    assert router.db_for_read(Item) == Item.objects.all().db == ALIAS
    assert router.db_for_write(Item) == "default"
    with reading_primary():
        assert router.db_for_read(Item) == "default"


def test_what_was_read_from_a_replica_is_written_to_the_primary() -> None:
    item = read_there(Item(pk=1, owner_id=1))
    assert router.db_for_write(Item, instance=item) == "default"
    assert router.db_for_read(Part, instance=item) == item.parts.all().db == "default"
    ours = Item(pk=2)
    ours._state.db = "default"
    assert router.allow_relation(item, ours)
    ours._state.db = "another"
    assert not router.allow_relation(item, ours)
    assert Part(item=item)._state.db == "default"


def test_replicas_are_not_migrated() -> None:
    assert not router.allow_migrate(ALIAS, "items")
    assert router.allow_migrate("default", "items")


def test_models_that_live_elsewhere_stay_there(settings: Settings) -> None:
    class Elsewhere:
        def db_for_read(self, model: type[Any], **_: object) -> str | None:
            return "another" if model is Part else None

    settings.DATABASE_ROUTERS = [Elsewhere(), "app.ReplicaRouter"]
    begin_reading().replica = ALIAS
    assert (router.db_for_read(Part), router.db_for_read(Item)) == ("another", ALIAS)


async def test_a_source_in_a_transaction_reads_what_it_has_written(transactional_db: None) -> None:
    begin_reading().replica = ALIAS
    async with atomic():
        assert router.db_for_read(Item) == "default"
        async with asyncio.TaskGroup() as group:
            assert await group.create_task(asyncio.to_thread(router.db_for_read, Item)) == "default"
    assert router.db_for_read(Item) == ALIAS


def test_a_source_names_no_replica_itself() -> None:
    feed = Feed(SQLiteBackend("a file"))
    begin_reading().replica = ALIAS
    feed.watch(Item.objects.all())
    with pytest.raises(ImproperlyConfigured, match="is read from the database 'replica1'"):
        feed.watch(Item.objects.using(ALIAS))


def test_replicas_are_those_of_the_default_database_on_postgresql() -> None:
    assert Feed(backend_for(ALIAS), ALIAS).replicas is None
    assert Feed(SQLiteBackend("a file")).replicas is None
    replicas = Feed(backend_for(ALIAS)).replicas
    assert replicas is not None
    assert [each.alias for each in replicas.all] == [ALIAS]


def told(settings: Settings, **changes: object) -> list[str]:
    for name, value in changes.items():
        setattr(settings, name, value)
    return [each.msg for each in checks.check_replicas()]


def test_checks_of_the_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(settings) == []
    assert told(settings, LIVE_REPLICAS=["other", "default"]) == [
        "LIVE_REPLICAS names 'other', which is not in DATABASES.",
        "LIVE_REPLICAS names 'default', which is the database itself.",
    ]
    assert told(settings, LIVE_REPLICAS=[ALIAS], DATABASE_ROUTERS=[]) == [
        "LIVE_REPLICAS needs app.ReplicaRouter as the last of DATABASE_ROUTERS."
    ]
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    monkeypatch.setitem(connections.settings[ALIAS], "HOST", "one.example,two.example")
    assert "has several hosts" in told(settings)[0]
    del connections[ALIAS]  # so that the engine is chosen anew
    monkeypatch.setitem(connections.settings[ALIAS], "ENGINE", "django.db.backends.sqlite3")
    assert "is not PostgreSQL" in told(settings)[0]
