"""What of a row is told, and that Python and PostgreSQL write it alike."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import models
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.changes.keys import MAX_KEYS, Key, canonical, keys_of
from tests.items.models import Item
from tests.postgresql import PostgreSQL

TYPES: dict[str, tuple[type, st.SearchStrategy[Any]]] = {
    "smallint": (int, st.integers(-(2**15), 2**15 - 1)),
    "integer": (int, st.integers(-(2**31), 2**31 - 1)),
    "bigint": (int, st.integers(-(2**63), 2**63 - 1)),
    "uuid": (UUID, st.uuids()),
    "text": (str, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    "varchar": (str, st.text(st.characters(codec="ascii", exclude_characters="\0"))),
    "date": (dt.date, st.dates()),
}


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("db_type", TYPES)
def test_canonical_text_is_what_postgresql_writes(db_type: str, postgresql: PostgreSQL) -> None:
    kind, values = TYPES[db_type]

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def holds(value: Any) -> None:
        statement = f"SELECT %s::{db_type}::text"
        assert connection.execute(statement, (value,)).fetchone() == (
            canonical(Key("key", kind), value),
        )

    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as connection:
        connection.execute("SET DateStyle = 'ISO'")
        holds()


class Number(models.IntegerChoices):
    """An int that shows itself in its own way."""

    ONE = 1


class Word(models.TextChoices):
    """A str of a class of its own."""

    WORD = "word"


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (int, None, None),
        (int, Number.ONE, "1"),
        (str, Word.WORD, "word"),
        (str, "", ""),
        (UUID, "0F0E0D0C0B0A09080706050403020100", "0f0e0d0c-0b0a-0908-0706-050403020100"),
        (dt.date, dt.date(33, 4, 3), "0033-04-03"),
        (dt.date, "2026-01-02", "2026-01-02"),
    ],
)
def test_canonical_text(kind: type, value: Any, text: str | None) -> None:
    assert canonical(Key("key", kind), value) == text


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, "1"),
        (str, 1),
        (str, b"1"),
        (UUID, 1),
        (UUID, "1"),
        (dt.date, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        (dt.date, "today"),
        (str, uuid4()),
        (int, models.F("pk")),
    ],
)
def test_other_types_have_no_text(kind: type, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(Key("key", kind), value)


@pytest.mark.once
def test_keys_are_the_primary_key_and_the_foreign_keys() -> None:
    assert keys_of(Item) == (Key("id", int), Key("owner_id", int))
    assert keys_of(User) == (Key("id", int),)


class CaseInsensitive(models.CharField):  # type: ignore[type-arg]  # plain at run time
    """A text whose equality is another than that of its letters."""

    def db_type(self, connection: Any) -> str:  # noqa: ARG002 - the caller's
        return "citext"


@pytest.mark.once
@isolate_apps("tests.items")
def test_keys_have_one_text_for_equal_values() -> None:
    class Target(models.Model):  # noqa: DJ008 - never shown
        pk = models.CompositePrimaryKey("day", "code", "amount", "number")
        day = models.DateField()
        code = models.SlugField(unique=True)
        amount = models.DecimalField(max_digits=5, decimal_places=2)
        number = models.PositiveSmallIntegerField()
        collated = models.CharField(max_length=5, unique=True, db_collation="ignore_case")
        citext = CaseInsensitive(max_length=5, unique=True)

        class Meta:
            app_label = "items"

    class Source(models.Model):  # noqa: DJ008
        id = models.UUIDField(primary_key=True)
        name = models.CharField(max_length=5)
        by_code = models.ForeignKey(Target, models.CASCADE, to_field="code", related_name="+")
        collated = models.ForeignKey(Target, models.CASCADE, to_field="collated", related_name="+")
        citext = models.ForeignKey(Target, models.CASCADE, to_field="citext", related_name="+")

        class Meta:
            app_label = "items"

    class Child(Source):  # noqa: DJ008
        parent = models.ForeignKey(Source, models.CASCADE, db_column="up", related_name="+")

        class Meta:
            app_label = "items"

    assert keys_of(Target) == (Key("day", dt.date), Key("code", str), Key("number", int))
    assert keys_of(Source) == (Key("id", UUID), Key("by_code_id", str))
    assert keys_of(Child) == (Key("source_ptr_id", UUID), Key("up", UUID))


@pytest.mark.once
@isolate_apps("tests.items")
def test_only_the_first_keys_are_told() -> None:
    fields: dict[str, Any] = {
        f"item_{i}": models.ForeignKey(Item, models.CASCADE, related_name="+") for i in range(9)
    }
    meta = type("Meta", (), {"app_label": "items"})
    wide = type("Wide", (models.Model,), {**fields, "Meta": meta, "__module__": __name__})
    assert len(keys_of(wide)) == MAX_KEYS
    assert keys_of(wide)[-1].column == "item_6_id"
