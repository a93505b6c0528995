"""A server that tells of itself, and has little patience."""

import pytest

from tests.conftest import StartServer
from tests.server import Server


@pytest.fixture
def measured_server(share_server: StartServer, transactional_db: None) -> Server:
    """A server with `/metrics` that closes clients who do not read for a second."""
    return share_server(
        Server,
        DEBUG="true",
        OPEN_ACCESS="true",
        METRICS="true",
        GRAPHQL_SEND_SECONDS="1",
        GRAPHQL_MAX_RESULT_FIELDS="20000",
    )
