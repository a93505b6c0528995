"""Chromium at the pages of a real server, with an eye on what it must not do."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from tests.browser.chromium import launch_chromium
from tests.browser.site import Site, create_database
from tests.server import ROOT


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not (ROOT / "frontend" / "dist" / "board.html").exists():
        pytest.exit("The browser tests need the pages, and `make pages` has not built them.", 1)
    try:
        with launch_chromium() as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def created_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "created.sqlite3"
    create_database(path)
    return path


@pytest.fixture
def database(created_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(created_database, tmp_path / "db.sqlite3"))


StartSite = Callable[..., Site]


@pytest.fixture
def start_site(database: Path) -> Iterator[StartSite]:
    """Start a server with settings as keywords: `PLAYGROUND="false"`."""
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(Site(database, **settings))


@pytest.fixture
def site(start_site: StartSite) -> Site:
    return start_site()


@dataclass
class Watch:
    """What pages did that they must not do. A test may expect some of the browser's errors."""

    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    sockets: int = 0

    def over(self, page: Page, origin: str) -> None:
        def note_request(request: Request) -> None:
            if not request.url.startswith((f"{origin}/", "data:", "blob:")):
                self.foreign.append(request.url)

        def note_message(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.errors.append(f"{message.text} ({message.location['url']})")

        page.on("request", note_request)
        page.on("websocket", lambda socket: self._note_socket(socket.url, origin))
        page.on("console", note_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note_socket(self, url: str, origin: str) -> None:
        self.sockets += 1
        if not url.startswith(f"{origin.replace('http', 'ws', 1)}/"):
            self.foreign.append(url)

    @property
    def unexpected(self) -> list[str]:
        return [e for e in self.errors if not any(re.search(p, e) for p in self.expected)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """After each test: no request left the origin, and the console had no error or warning.

    What a Content-Security-Policy stops, Chromium reports in the console as an error.
    """
    watch = Watch()
    yield watch
    assert watch.foreign == []
    assert watch.unexpected == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser, watch: Watch, start_site: StartSite) -> Iterator[Visit]:
    """Open an address as somebody new would: `visit(site.origin)`, with context options.

    The pages are closed before the servers are stopped.
    """
    contexts = []

    def visit(url: str, **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.clock.install()  # It runs as ever; a test may let time pass faster.
        watch.over(page, "/".join(url.split("/")[:3]))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
