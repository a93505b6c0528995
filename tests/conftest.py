"""A database of the chosen kind, and a real server on it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings as django_settings
from django.db import connections

import settings as project
from tests.postgresql import PostgreSQL
from tests.server import Server

TEST_DATABASE = "test_live"

StartServer = Callable[..., Server]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line choose the database, and how long the soak lasts."""
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.addoption("--soak-seconds", type=float, default=5)
    parser.addoption("--soak-clients", type=int, default=10)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks for tests that need not run on both kinds of database."""
    config.addinivalue_line("markers", "only(vendor): about this kind of database alone")
    config.addinivalue_line("markers", "once: no database has a part in it, so SQLite will do")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are about the other kind of database."""
    vendor = config.getoption("--database")
    others = [i for i in items if any(m.args != (vendor,) for m in i.iter_markers("only"))]
    if vendor != "sqlite":
        others += [item for item in items if item.get_closest_marker("once")]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def vendor(request: pytest.FixtureRequest) -> str:
    """Which kind of database is tested: "sqlite" or "postgresql"."""
    return str(request.config.getoption("--database"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The running PostgreSQL server."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def database_url(
    vendor: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The DATABASE_URL of the database that tests and servers share."""
    if vendor == "postgresql":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        return postgresql.url(TEST_DATABASE)
    return f"sqlite:///{tmp_path_factory.mktemp('database') / 'test.sqlite3'}"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    vendor: str, database_url: str, request: pytest.FixtureRequest
) -> None:
    """Point Django at the test database before pytest-django creates it."""
    if vendor == "postgresql":
        config = project.database(request.getfixturevalue("postgresql").url("postgres"))
        config["TEST"] = {"NAME": TEST_DATABASE}
    else:
        config = project.database(database_url)
        config["TEST"] = {"NAME": config["NAME"]}
    django_settings.DATABASES["default"] = config
    connections.settings = connections.configure_settings({"default": config})
    del connections["default"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Before the database is dropped, close the connection of asgiref's one thread."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(scope="session")
def pgbouncer() -> str:
    """The path of PgBouncer. In CI it must be there."""
    return program("pgbouncer", "PgBouncer is needed: apt-get install pgbouncer")


@pytest.fixture(scope="session")
def nginx() -> str:
    """The path of nginx. In CI it must be there."""
    return program("nginx", "nginx is needed: apt-get install nginx-light")


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' tool. In CI it must be there."""
    return program("promtool", "promtool is needed: apt-get install prometheus")


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where servers write their logs."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture
def server_kind() -> type[Server]:
    """Which server is tested: the items', unless a folder has another."""
    return Server


@contextmanager
def launcher(database_url: str, folder: Path) -> Iterator[StartServer]:
    """A function that starts servers; afterwards no log may hold a traceback."""
    with ExitStack() as running:

        def start(kind: type[Server], **settings: str) -> Server:
            log = folder / f"{len(list(folder.iterdir()))}.log"
            server = running.enter_context(kind(log, database_url, **settings))
            running.callback(_check_log, server)
            return server

        yield start


@pytest.fixture(scope="session")
def share_server(
    django_db_setup: None, database_url: str, server_folder: Path
) -> Iterator[StartServer]:
    """Start servers that live as long as the tests, one of each kind and with equal settings."""
    with launcher(database_url, server_folder) as start:
        yield cache(start)


@pytest.fixture
def start_server(
    transactional_db: None, database_url: str, server_folder: Path, server_kind: type[Server]
) -> Iterator[StartServer]:
    """Start servers for one test, with settings as keywords: `OPEN_ACCESS="true"`."""
    with launcher(database_url, server_folder) as start:
        yield partial(start, server_kind)


@pytest.fixture
def shared_server(share_server: StartServer, server_kind: type[Server]) -> Server:
    """The server behind `server`, for tests that write nothing."""
    return share_server(server_kind, DEBUG="true", OPEN_ACCESS="true")


@pytest.fixture
def server(shared_server: Server, transactional_db: None) -> Server:
    """A server that anybody may use for everything, as in the demo."""
    return shared_server


@pytest.fixture
def guarded_server(
    share_server: StartServer, server_kind: type[Server], transactional_db: None
) -> Server:
    """A server as in production: everybody sees their own."""
    return share_server(server_kind)


def _check_log(server: Server) -> None:
    assert "Traceback" not in server.log, server.log


def program(name: str, reason: str) -> str:
    """The path of a program, which Debian may have put where only root looks."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program
