"""A library in the chosen database, and the package opened on the test's event loop."""

from collections.abc import AsyncIterator, Iterator

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
