"""A database for a project of its own."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


@pytest.fixture
def shop_url(vendor: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The DATABASE_URL of an empty database."""
    if vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.sqlite3'}"
        return
    server = request.getfixturevalue("postgresql")
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE shop")
        try:
            yield server.url("shop")
        finally:
            admin.execute("DROP DATABASE shop WITH (FORCE)")
