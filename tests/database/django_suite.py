"""Run Django's own tests on this engine, all in greenlets, and compare with Django's.

    python -m tests.database.django_suite CHECKOUT [LABEL ...]

CHECKOUT is the source of the installed version of Django. Each engine gets a process of its own;
what fails on one and not on the other is printed, and decides the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENGINES = {"django": "django.db.backends.postgresql", "greenlets": "app.database"}
# All of Django's tests that use a database, without those of the admin, views and the like.
LABELS = (
    "aggregation aggregation_regress annotations async basic backends bulk_create composite_pk "
    "constraints contenttypes_tests custom_columns custom_lookups custom_managers custom_methods "
    "custom_pk datatypes dates datetimes db_functions db_typecasts db_utils defer defer_regress "
    "delete delete_regress distinct_on_fields empty empty_models expressions expressions_case "
    "expressions_window extra_regress field_defaults field_subclassing filtered_relation "
    "force_insert_update foreign_object from_db_value generic_relations generic_relations_regress "
    "get_earliest_or_latest get_object_or_404 get_or_create indexes introspection "
    "known_related_objects lookup m2m_and_m2o m2m_intermediary m2m_multiple m2m_recursive "
    "m2m_regress m2m_signals m2m_through m2m_through_regress m2o_recursive managers_regress "
    "many_to_many many_to_one many_to_one_null max_lengths migrations model_fields model_indexes "
    "model_inheritance model_inheritance_regress model_package model_regress model_utils "
    "multiple_database mutually_referential nested_foreign_keys null_fk null_fk_ordering "
    "null_queries one_to_one or_lookups order_with_respect_to ordering pagination postgres_tests "
    "prefetch_related properties proxy_model_inheritance proxy_models queries queryset_pickle "
    "raw_query reserved_names reverse_lookup save_delete_hooks schema select_for_update "
    "select_related select_related_onetoone select_related_regress serializers signals "
    "string_lookup swappable_models timezones transaction_hooks transactions unmanaged_models "
    "update update_only_fields validation xor_lookups"
)


class Recorder(unittest.TextTestResult):
    """Note the outcome of each test, and of each subtest that fails."""

    outcomes: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, outcome: str) -> None:
        self.outcomes.setdefault(test.id(), outcome)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self._note(test, "ok")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._note(test, "error")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, "failure")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failure")


def use_settings(engine: str, url: str) -> None:
    """Use the settings of Django's tests, with databases on `engine`."""
    from psycopg.conninfo import conninfo_to_dict

    server = conninfo_to_dict(url)
    database = {
        "ENGINE": ENGINES[engine],
        "USER": server.get("user"),
        "PASSWORD": server.get("password"),
        "HOST": server.get("host"),
        "PORT": server.get("port", ""),
    }
    settings = importlib.import_module("test_sqlite")  # of the checkout
    settings.DATABASES = {  # type: ignore[attr-defined]
        "default": database | {"NAME": f"django_{engine}"},
        "other": database | {"NAME": f"django_{engine}_other"},
    }
    os.environ["DJANGO_SETTINGS_MODULE"] = "test_sqlite"


def has(url: str, table: str, column: str, name: str) -> bool:
    """Whether the server knows `name`: the wheel's has no ICU and no extensions."""
    import psycopg

    with psycopg.connect(url) as connection:
        query = f"SELECT count(*) FROM {table} WHERE {column} = %s"
        row = connection.execute(query, [name]).fetchone()
    return row is not None and row[0] > 0


def in_greenlets(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in one call of a greenlet, on one connection for each database."""
    from app.database.greenlet_executor import GreenletExecutor
    from app.database.pools import open_pools
    from app.database.scope import Keep

    async def run_in_greenlet(*args: Any, **kwargs: Any) -> Any:
        async with open_pools():
            executor = GreenletExecutor(Keep.EVERYTHING)
            try:
                return await executor.call(function, *args, **kwargs)
            finally:
                await executor.close()

    def call(*args: Any, **kwargs: Any) -> Any:
        from django.db import connections

        connections.close_all()
        return asyncio.run(run_in_greenlet(*args, **kwargs))

    return call


def run_engine(engine: str, url: str, checkout: Path, labels: list[str]) -> dict[str, str]:
    """Run the tests in this process, on one engine."""
    sys.path.insert(0, str(checkout / "tests"))
    use_settings(engine, url)
    # A folder for each engine: the tests leave things in it, beside what they were given.
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp()
    import runtests  # type: ignore[import-not-found]  # of the checkout

    labels, state = runtests.setup_run_tests(1, "", "", labels)
    if engine == "greenlets":
        from app.database.models import install

        install()
    from django.db.backends.postgresql.features import DatabaseFeatures
    from django.test.runner import DiscoverRunner

    if not has(url, "pg_collation", "collname", "sv-x-icu"):
        DatabaseFeatures.test_collations = dict.fromkeys(DatabaseFeatures.test_collations, "C")

    class Runner(DiscoverRunner):
        def get_resultclass(self) -> type[Recorder]:
            return Recorder

        def run_suite(self, suite: Any, **kwargs: Any) -> Any:
            run = super().run_suite
            return (in_greenlets(run) if engine == "greenlets" else run)(suite, **kwargs)

    Runner(verbosity=1, interactive=False, parallel=1).run_tests(labels)
    runtests.teardown_run_tests(state)
    return Recorder.outcomes


def run_apart(engine: str, url: str, checkout: Path, labels: list[str]) -> dict[str, str]:
    """Run the tests in a process of their own; its output is kept in a file."""
    log = Path(tempfile.mkdtemp(prefix="django_suite_")) / f"{engine}.log"
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile("r", suffix=".json") as result, log.open("w") as output:
        subprocess.run(
            [sys.executable, "-m", __spec__.name, str(checkout), *labels,
             "--engine", engine, "--url", url, "--result", result.name],
            stdout=output, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
        outcomes: dict[str, str] = json.load(result)
    bad = sum(outcome in ("error", "failure") for outcome in outcomes.values())
    skipped = sum(outcome == "skipped" for outcome in outcomes.values())
    seconds = time.monotonic() - begun
    print(
        f"{engine}: {len(outcomes)} tests, {bad} failed, {skipped} skipped, {seconds:.0f} s: {log}"
    )
    return outcomes


def main() -> int:
    """Run both engines, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("labels", nargs="*", help="test labels, by default all of the ORM's")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    labels = options.labels or LABELS.split()
    if options.engine:
        outcomes = run_engine(options.engine, options.url, options.checkout, labels)
        options.result.write_text(json.dumps(outcomes))
        return 0
    from tests.postgresql import PostgreSQL

    with PostgreSQL() as server:
        url = server.url("postgres")
        if not options.labels and not has(url, "pg_available_extensions", "name", "citext"):
            labels.remove("postgres_tests")
        django, greenlets = (run_apart(name, url, options.checkout, labels) for name in ENGINES)
    differences = sorted(
        test for test in django | greenlets if django.get(test) != greenlets.get(test)
    )
    for test in differences:
        print(f"{test}: Django {django.get(test)}, greenlets {greenlets.get(test)}")
    print(f"{len(differences)} differences")
    return bool(differences)


if __name__ == "__main__":
    sys.exit(main())
