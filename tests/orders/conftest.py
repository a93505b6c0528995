"""The project's own server, in place of the items'."""

import pytest

from tests.server import ProjectServer, Server


@pytest.fixture
def server_kind() -> type[Server]:
    """The project's."""
    return ProjectServer
