"""A small fixed part of Django's own tests, where DJANGO_CHECKOUT names their source."""

import os
import subprocess
import sys

import pytest

from tests.postgresql import PostgreSQL

CHECKOUT = os.environ.get("DJANGO_CHECKOUT", "")
LABELS = ["aggregation", "bulk_create", "get_or_create", "prefetch_related", "transactions"]


@pytest.mark.only("postgresql")
@pytest.mark.skipif(not CHECKOUT, reason="DJANGO_CHECKOUT does not name Django's source")
@pytest.mark.timeout(600)
def test_djangos_own_tests_pass_in_greenlets(postgresql: PostgreSQL) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.database.django_suite", CHECKOUT, *LABELS],
        env=os.environ | {"DATABASE_URL": postgresql.url("postgres")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences" in done.stdout
