"""The example of docs/frontend.md, on another origin than the server."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import Site
from tests.server import ROOT, free_port

EXAMPLE = ROOT / "frontend" / "examples" / "apollo"
both_links = pytest.mark.parametrize("page_name", ["index.html", "legacy.html"])


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


@pytest.fixture(scope="module")
def api_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def other_origin(api_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The example, built for the server's address, and served at another port."""
    folder = tmp_path_factory.mktemp("example")
    binaries = Path(sys.executable).parent
    subprocess.run(
        [binaries / "npm", "run", "build", "--", "--outDir", folder, "--emptyOutDir"],
        cwd=EXAMPLE,
        env=os.environ
        | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "VITE_API": f"http://127.0.0.1:{api_port}",
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context() as context:
        yield context.new_page()


def site_at(port: int, database: Path, **settings: str) -> Site:
    site = Site(database, **settings)
    site.port = port
    return site


@both_links
def test_allowed_origin_is_live(
    page_name: str, api_port: int, other_origin: str, database: Path, page: Page
) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    with site_at(api_port, database, CORS_ALLOWED_ORIGINS=other_origin):
        page.goto(f"{other_origin}/{page_name}")
        expect(page.get_by_role("main")).to_contain_text("Order 1 of 2026-11-01 is UNPAID.")
        page.get_by_role("button", name="Pay").click()
        expect(page.get_by_role("main")).to_contain_text("Order 1 of 2026-11-01 is PAID.")
        page.close()
    assert errors == []


@both_links
def test_allowed_origin_is_the_viewer_who_has_signed_in(
    page_name: str, api_port: int, other_origin: str, database: Path, page: Page
) -> None:
    settings = {"OPEN_ACCESS": "false", "CORS_ALLOWED_ORIGINS": other_origin}
    with site_at(api_port, database, **settings) as site:
        page.goto(f"{other_origin}/{page_name}")
        expect(page.get_by_role("alert")).to_contain_text("No subscription")

        page.goto(f"{site.origin}/admin/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill("admin")
        page.get_by_role("button", name="Log in").click()
        page.goto(f"{other_origin}/{page_name}")
        expect(page.get_by_role("main")).to_contain_text("Order 1 of 2026-11-01 is UNPAID.")
        page.get_by_role("button", name="Pay").click()
        expect(page.get_by_role("main")).to_contain_text("is PAID.")
        page.close()


@both_links
def test_other_origin_gets_nothing_unless_allowed(
    page_name: str, api_port: int, other_origin: str, database: Path, page: Page
) -> None:
    with site_at(api_port, database, CORS_ALLOWED_ORIGINS="https://example.org") as site:
        with page.expect_console_message(lambda message: "WebSocket" in message.text) as refusal:
            page.goto(f"{other_origin}/{page_name}")
        assert "403" in refusal.value.text
        for content_type in ("application/json", "text/plain"):
            assert not page.evaluate(POST, [f"{site.origin}/graphql/", content_type])
        expect(page.get_by_role("main")).not_to_contain_text("Order")
        page.close()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT state FROM orders_order").fetchall() == [("UNPAID",)]
    connection.close()


POST = """async ([url, type]) => {
    const mutation = 'mutation { setOrderState(id: "1", state: PAID) { id } }';
    try {
        await fetch(url, {
            method: "POST",
            credentials: "include",
            headers: { "Content-Type": type },
            body: JSON.stringify({ query: mutation }),
        });
        return true;
    } catch {
        return false;
    }
}"""
