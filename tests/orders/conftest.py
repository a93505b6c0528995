"""The project's own server, in place of the items'."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer, launcher
from tests.server import ProjectServer, Server


@pytest.fixture(scope="session")
def start_project(
    django_db_setup: None, database_url: str, server_folder: Path
) -> Iterator[StartServer]:
    """Start servers that live as long as the tests."""
    yield from launcher(database_url, server_folder, ProjectServer)


@pytest.fixture
def start_server(
    transactional_db: None, database_url: str, server_folder: Path
) -> Iterator[StartServer]:
    """Start servers for one test, with settings as keywords."""
    yield from launcher(database_url, server_folder, ProjectServer)


@pytest.fixture(scope="session")
def shared_server(start_project: StartServer) -> Server:
    """The server behind `server`."""
    return start_project(DEBUG="true", OPEN_ACCESS="true")


@pytest.fixture(scope="session")
def shared_guarded_server(start_project: StartServer) -> Server:
    """The server behind `guarded_server`."""
    return start_project()
