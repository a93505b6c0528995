"""A small fixed part of Django's own tests."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import django
import pytest

from tests.postgresql import PostgreSQL

LABELS = ["aggregation", "bulk_create", "get_or_create", "prefetch_related", "transactions"]


@pytest.fixture
def checkout(request: pytest.FixtureRequest) -> Path:
    """Return the source of the installed Django, which has its tests: downloaded, and kept."""
    folder: Path = request.config.cache.mkdir("django")
    version = django.get_version()
    source = folder / f"django-{version}"
    if not source.exists():
        command = f"-m pip download --no-deps --no-binary django --dest {folder} django=={version}"
        subprocess.run([sys.executable, *command.split()], check=True)
        with tarfile.open(folder / f"django-{version}.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
            archive.extractall(folder)
    return source


@pytest.mark.only("postgresql")
@pytest.mark.timeout(600)
def test_djangos_own_tests_pass_in_greenlets(postgresql: PostgreSQL, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.database.django_suite", checkout, *LABELS],
        env=os.environ | {"DATABASE_URL": postgresql.url("postgres")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences" in done.stdout
