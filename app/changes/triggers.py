"""The PostgreSQL triggers that announce each write to a live table with NOTIFY.

One statement-level trigger a table: its cost does not grow with the rows of a statement, and
PostgreSQL sends one notification a transaction, table and commit, however many statements.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connections, router

from .live_models import live_models

CHANNEL = "live_changes"
TRIGGER = "live_changes"  # of each table
FUNCTION = "live_changes_notify"

TABLES_WITH_TRIGGER = f"""
    SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgname = '{TRIGGER}' AND t.tgenabled IN ('O', 'A') AND pg_table_is_visible(c.oid)
"""  # noqa: S608 - constants

_CREATE_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('{CHANNEL}', TG_TABLE_NAME);
        RETURN NULL;
    END $$
"""


def synchronize(using: str, **_: Any) -> None:
    """Give each live table of the database `using` its trigger, and take it from all others.

    Runs after every `migrate`. Touches only tables whose trigger is missing or too much, since
    creating one waits for the transactions that write to the table.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        wanted = existing & {
            model._meta.db_table
            for model in live_models()
            if router.allow_migrate_model(using, model)
        }
        cursor.execute(TABLES_WITH_TRIGGER)
        present = {name for (name,) in cursor.fetchall()}
        quote = connection.ops.quote_name
        if missing := wanted - present:
            cursor.execute(_CREATE_FUNCTION)
            for table in sorted(missing):
                # OR REPLACE, since a disabled trigger counts as missing.
                cursor.execute(
                    f"CREATE OR REPLACE TRIGGER {TRIGGER} "
                    f"AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {quote(table)} "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()"
                )
        for table in sorted(present - wanted):
            cursor.execute(f"DROP TRIGGER {TRIGGER} ON {quote(table)}")


def missing(present: Iterable[str], using: str) -> set[str]:
    """The live tables of the database `using` that are not in `present`."""
    tables = {model._meta.db_table for model in live_models() if router.db_for_read(model) == using}
    return tables - set(present)
