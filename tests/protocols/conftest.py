"""A server that tells of itself, and has little patience."""

import pytest

from tests.conftest import StartServer
from tests.server import Server


@pytest.fixture(scope="session")
def shared_measured_server(start_shared_server: StartServer) -> Server:
    """The server behind `measured_server`."""
    return start_shared_server(
        DEBUG="true",
        OPEN_ACCESS="true",
        METRICS="true",
        GRAPHQL_SEND_SECONDS="1",
        GRAPHQL_MAX_RESULT_FIELDS="20000",
    )


@pytest.fixture
def measured_server(shared_measured_server: Server, transactional_db: None) -> Server:
    """A server with `/metrics` that closes clients who do not read for a second."""
    return shared_measured_server
