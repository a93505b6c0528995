"""Which columns of a changed row are told, and how their values are written."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.models import Field, Model

MAX_KEYS = 8

# PostgreSQL's types whose values have one text each. Equal text must mean equal values: it does
# not for numeric (1.0 and 1.00), char(n) or citext.
_KINDS: dict[str, type] = {
    "smallint": int,
    "integer": int,
    "bigint": int,
    "uuid": UUID,
    "text": str,
    "varchar": str,
    "date": dt.date,
}


class Key(NamedTuple):
    """A column whose value is told of each changed row; `kind` is the Python type of its values."""

    column: str
    kind: type


@cache
def keys_of(model: type[Model]) -> tuple[Key, ...]:
    """The keys of the model's own table: first the primary key's columns, then foreign keys.

    Leaves out columns whose type has more than one text for equal values, and all after the
    first `MAX_KEYS`.
    """
    concrete: Any = model._meta.concrete_model
    meta = concrete._meta
    own = set(meta.local_concrete_fields)
    fields = [field for field in meta.pk_fields if field in own]
    fields += [field for field in meta.local_concrete_fields if field.remote_field]
    kinds = {str(field.column): kind for field in fields if (kind := _kind(field))}
    return tuple(Key(column, kind) for column, kind in kinds.items())[:MAX_KEYS]


def canonical(key: Key, value: object) -> str | None:
    """The text that PostgreSQL's `column::text` gives for `value`; a date's is YYYY-MM-DD.

    `value` is as the field prepares it for the database. Raises ValueError if its type is not
    the key's.
    """
    match value:
        case None:
            return None
        case int() if key.kind is int and not isinstance(value, bool):
            return int.__repr__(value)
        case str() if key.kind is str:
            return str.__str__(value)  # the text itself, whatever a subclass shows
        case UUID() if key.kind is UUID:
            return str(value)
        case str() if key.kind is UUID:  # SQLite's form
            return str(UUID(value))
        case dt.date() if key.kind is dt.date and type(value) is dt.date:
            return value.isoformat()
        case str() if key.kind is dt.date:  # SQLite's form
            return dt.date.fromisoformat(value).isoformat()
    raise ValueError(
        f"The key {key.column} takes values of type {key.kind.__name__}, "
        f"but {value!r} is of type {type(value).__name__}."
    )


def _kind(field: Field[Any, Any]) -> type | None:
    """The Python type of the field's values, or None if they have no canonical text."""
    target = field
    while target.remote_field:
        target = target.target_field  # type: ignore[attr-defined]
    if getattr(target, "db_collation", None):
        return None  # It may be nondeterministic: then different texts are equal.
    db_type = field.db_type(_postgresql()) or ""
    return _KINDS.get(re.sub(r"\(\d+\)$", "", db_type))


@cache
def _postgresql() -> DatabaseWrapper:
    """A connection that is never opened, to ask fields for their types."""
    return DatabaseWrapper({}, alias="keys")
