"""A library in the chosen database, and the package opened on the test's event loop."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from textwrap import dedent

import pytest
import pytest_asyncio
from django.db import connection

from app.database.lifespan import opened
from tests.database.library.models import Author, Book

THREADS = 4


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of the long tests."""
    config.addinivalue_line("markers", "long: takes a minute; runs with -m long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests, unless they are asked for."""
    if "long" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture
def library(transactional_db: None) -> Iterator[Author]:
    """An author with three books, of 50, 150 and 250 pages."""
    author = Author.objects.create(name="Ursula")
    for number, title in enumerate(["First", "Second", "Third"]):
        Book.objects.create(title=title, pages=50 + number * 100, author=author)
    connection.close()
    yield author
    connection.close()


@pytest_asyncio.fixture
async def open_database(library: Author) -> AsyncIterator[None]:
    """What the lifespan opens, for tests that need no books."""
    async with opened(threads=THREADS):
        yield


@pytest.fixture
def author(library: Author, open_database: None) -> Author:
    """The author of the library, in an opened database."""
    return library


Script = Callable[[str], list[str]]

_PRELUDE = """
from asyncio import create_task, gather, run, sleep, timeout
from time import monotonic

import django
from django.conf import settings

import settings as project

settings.DATABASES["default"] = project.database({url!r})
django.setup()

from django.contrib.auth.models import Group, Permission, User
from django.db import connection

from app.database.models import install
from app.database.transaction import atomic
from tests.database.library.models import Author, Book
"""


# asgiref's one thread is Django's own, and outlives all event loops.
_EPILOGUE = """
from asgiref.sync import SyncToAsync
from django.db import connections

SyncToAsync.single_thread_executor.submit(connections.close_all).result()
"""


@pytest.fixture
def script(database_url: str) -> Script:
    """A function that runs Python in a process without any lifespan, and returns what it prints."""

    prelude = _PRELUDE.format(url=database_url)

    def execute(code: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c",
             prelude + dedent(code) + _EPILOGUE],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PGAPPNAME": "script"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return execute
