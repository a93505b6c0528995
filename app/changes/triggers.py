"""The PostgreSQL triggers that write down which rows of live tables each statement has changed.

They note the keys of these rows, as they were and as they are, in the table `live_change`, and
NOTIFY, unless the sequence `live_lease` says that the listeners look anyway: NOTIFY lets one
transaction commit at a time. Keeping silent because *another writer* has notified would be wrong,
since that one's NOTIFY comes with its commit: late, or never.
"""

import json
import logging
from collections.abc import Iterable
from datetime import date
from typing import Any
from uuid import UUID

from django.core import checks
from django.db import OperationalError, connections, router, transaction
from django.db.backends.utils import CursorWrapper, truncate_name
from django.db.models import Model
from psycopg.errors import LockNotAvailable
from psycopg.sql import quote as quote_literal

from .keys import keys_of
from .live_models import live_models

logger = logging.getLogger(__name__)

CHANNEL = "live_changes"
TABLE = "live_change"
LEASE = "live_lease"

LEASE_MS = 1000
"""How long a lease lasts."""
ABSENT_MS = 90_000
"""So long after the lease, writers take it that nobody listens, and write nothing down."""
MAX_ROWS = 300
"""A statement that changes more rows has changed the whole table, as far as is told."""

TRIGGERS = {
    "live_insert": ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
    "live_update": ("UPDATE", "REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows"),
    "live_delete": ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
    "live_truncate": ("TRUNCATE", ""),
}
"""The triggers of each live table, each with its event."""
FORMER_TRIGGER = "live_changes"
"""What versions before the precise feed gave to each live table."""

FIND_TRIGGERS = f"""
    SELECT c.relname, t.tgname, p.prosrc
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgname IN ({", ".join(f"'{name}'" for name in (*TRIGGERS, FORMER_TRIGGER))})
        AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND pg_table_is_visible(c.oid)
"""  # noqa: S608 - constants

# Unlogged: written at half the cost, and emptied by a crash, after which all are woken anyway.
_CREATE_TABLE = f"""
    CREATE UNLOGGED TABLE IF NOT EXISTS {TABLE} (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        relation text NOT NULL,
        keys text[],
        size integer,
        written_at timestamptz DEFAULT clock_timestamp()
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
    CREATE INDEX IF NOT EXISTS {TABLE}_xid ON {TABLE} (xid);
    CREATE SEQUENCE IF NOT EXISTS {LEASE} MINVALUE 0 START 0 OWNED BY {TABLE}.xid;
"""
# Where nothing is missing, CREATE INDEX would wait for those who write there all the same, and all
# others behind it.
_IS_COMPLETE = f"""
    SELECT num_nulls(to_regclass('{TABLE}'), to_regclass('{TABLE}_xid'), to_regclass('{LEASE}')) = 0
"""
HAS_TIMES = f"""
    SELECT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = '{TABLE}'::regclass AND attname = 'written_at' AND NOT attisdropped
    )
"""  # noqa: S608 - constants
"""Whether the table tells when rows were written: those of a version before do not."""
# The default, which triggers of any version use, comes in a second step, or all rows would be
# written anew.
_ADD_TIMES = f"""
    ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS written_at timestamptz;
    ALTER TABLE {TABLE} ALTER COLUMN written_at SET DEFAULT clock_timestamp();
"""
LOCK_MS = 2000
"""So long all who write to live tables may have to wait for the sake of a measurement."""
_FIND_SCHEMA = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = %s::regclass"
_FIND_COLUMNS = """
    SELECT a.attname, t.typname
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
        AND coalesce(l.collisdeterministic, true)
"""
_FIND_UNUSED_FUNCTIONS = r"""
    SELECT p.oid::regproc::text FROM pg_proc p
    WHERE (p.proname LIKE 'live\_changed\_%' OR p.proname = 'live_changes_notify')
        AND p.prorettype = 'trigger'::regtype AND pg_function_is_visible(p.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)
"""
_TYPES = {
    int: {"int2", "int4", "int8"},
    str: {"text", "varchar"},
    UUID: {"uuid"},
    date: {"date"},
}
"""The types of PostgreSQL that keys of each kind may have; others are not told."""


# Whoever may write to the table must be able to fire it, so it has its owner's rights, and every
# name in it means one thing. What fails while the keys are gathered, a column that is gone say,
# costs precision, not the write; that block writes nothing, so it takes no transaction's number.
# A transaction that has changed a row has its number when the lease is read, so a listener can wait
# for all those who may have kept silent; the clock is read later, so a lease that is taken for a
# moment gone by silences nobody, as one that ends later than any can, since the clock went back.
_BODY = """
DECLARE
    lease_ms bigint := 0;
    now_ms bigint;
    most bigint := {max_rows};
    keys text[];
BEGIN
    IF to_regclass('{schema}.{table}') IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        SELECT last_value INTO lease_ms FROM {schema}.{lease};
        now_ms := extract(epoch FROM clock_timestamp()) * 1000;
        IF now_ms > lease_ms + {absent_ms} THEN
            RETURN NULL;
        ELSIF TG_OP = 'INSERT' THEN
            keys := ARRAY(SELECT {key} FROM new_rows LIMIT {max_rows} + 1);
        ELSIF TG_OP = 'DELETE' THEN
            keys := ARRAY(SELECT {key} FROM old_rows LIMIT {max_rows} + 1);
        ELSIF TG_OP = 'UPDATE' THEN
            keys := ARRAY(
                SELECT {key} FROM new_rows UNION ALL SELECT {key} FROM old_rows
                LIMIT 2 * {max_rows} + 1
            );
            most := 2 * most;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        keys := NULL;
    END;
    IF array_length(keys, 1) > most THEN
        keys := NULL;
    ELSIF cardinality(keys) = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.{table} (relation, keys, size)
    VALUES ({relation}, keys, cardinality(keys));
    IF (now_ms > lease_ms OR lease_ms > now_ms + 2 * {lease_ms}) IS NOT FALSE THEN
        PERFORM pg_notify('{channel}', '');
    END IF;
    RETURN NULL;
END
"""


def synchronize(using: str, **_: Any) -> None:
    """Give each live table of the database `using` its triggers, and take them from all others.

    Runs after every `migrate`, and mends what it finds. Touches only tables whose triggers are
    missing or too much, since that waits for the transactions that write to the table.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        live = {
            model._meta.db_table: model
            for model in live_models()
            if router.allow_migrate_model(using, model) and model._meta.db_table in existing
        }
        cursor.execute(FIND_TRIGGERS)
        found = {(table, trigger): source for table, trigger, source in cursor.fetchall()}
        schema = _prepare(cursor) if live else ""
        for table, model in live.items():
            name = f"{schema}.{quote(truncate_name(f'live_changed_{table}', 63))}"
            source = _source(cursor, schema, quote(table), model)
            if any(found.get((table, trigger)) != source for trigger in TRIGGERS):
                cursor.execute(
                    f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
                    f"SECURITY DEFINER SET search_path = pg_catalog, pg_temp "
                    f"AS {quote_literal(source)}"
                )
            for trigger, (event, transition) in TRIGGERS.items():
                if (table, trigger) not in found:
                    # OR REPLACE, since a disabled trigger counts as missing.
                    cursor.execute(
                        f"CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {quote(table)} "
                        f"{transition} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
                    )
        for table, trigger in found:
            if table not in live or trigger == FORMER_TRIGGER:
                cursor.execute(f"DROP TRIGGER {trigger} ON {quote(table)}")
        cursor.execute(_FIND_UNUSED_FUNCTIONS)
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION {name}()")


def _prepare(cursor: CursorWrapper) -> str:
    """Create the table of changes. Return its schema, quoted."""
    cursor.execute(_IS_COMPLETE)
    if cursor.fetchone() != (True,):
        cursor.execute(_CREATE_TABLE)
    _add_times(cursor)
    cursor.execute(_FIND_SCHEMA, [TABLE])
    return str(cursor.fetchone()[0])


def _add_times(cursor: CursorWrapper) -> None:
    """Give the table its column for times, unless transactions that stay open are in the way."""
    cursor.execute(HAS_TIMES)
    if cursor.fetchone() == (True,):
        return
    try:
        with transaction.atomic(using=cursor.db.alias):
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            cursor.execute(_ADD_TIMES)
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        logger.warning(
            "%s has no column written_at yet, since a transaction that has written there stays "
            "open: until the next migrate, nobody measures how late changes are heard of.",
            TABLE,
        )


def _source(cursor: CursorWrapper, schema: str, table: str, model: type[Model]) -> str:
    """The body of the function that the triggers of a table call."""
    cursor.execute(_FIND_COLUMNS, [table])
    types = dict(cursor.fetchall())
    keys = [key for key in keys_of(model) if types.get(key.column) in _TYPES[key.kind]]
    quote = cursor.db.ops.quote_name
    texts = [
        f"to_char({quote(key.column)}, 'YYYY-MM-DD')"
        if key.kind is date
        else f"{quote(key.column)}::text"
        for key in keys
    ]
    relation = json.dumps([model._meta.db_table, *(key.column for key in keys)])
    return _BODY.format(
        schema=schema,
        table=TABLE,
        lease=LEASE,
        channel=CHANNEL,
        absent_ms=ABSENT_MS,
        lease_ms=LEASE_MS,
        max_rows=MAX_ROWS,
        key=f"ARRAY[{', '.join(texts)}]::text[]",
        relation=quote_literal(relation),
    )


def check_triggers(*, databases: Iterable[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """Django's system check that live tables have their triggers: `check --database default`."""
    found: list[checks.CheckMessage] = []
    for using in databases or ():
        connection = connections[using]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute(FIND_TRIGGERS)
            present = [(table, trigger) for table, trigger, _source in cursor.fetchall()]
            existing = set(connection.introspection.table_names(cursor))
        found += [
            checks.Warning(
                f"Changes of {table} in the database {using!r} are not announced: no trigger.",
                hint="Run migrate.",
                id="live.W001",
            )
            for table in sorted(missing(present, using) & existing)
        ]
    return found


def missing(present: Iterable[tuple[str, str]], using: str) -> set[str]:
    """The live tables of the database `using` that lack one of their triggers.

    `present` are tables and names of triggers.
    """
    tables = {model._meta.db_table for model in live_models() if router.db_for_read(model) == using}
    there = set(present)
    return {table for table in tables if any((table, name) not in there for name in TRIGGERS)}
