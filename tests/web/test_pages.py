"""The pages as a client sees them, on a build that the tests lay down."""

import gzip
import logging
import re
from pathlib import Path

import httpx
import pytest
from pytest_django import Settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from app.web.headers import SecurityHeaders
from app.web.pages import PLAYGROUND, Page, Pages

pytestmark = pytest.mark.once

BOARD = Page("board", "/")


@pytest.fixture
def build(tmp_path: Path, settings: Settings) -> Path:
    """A built frontend, with both pages turned on."""
    for name in ("board", "playground"):
        (tmp_path / f"{name}.html").write_text(f'<!doctype html><html lang="en">{name}</html>')
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "board-D6lzcnrz.js").write_text("live()")
    settings.PAGES_DIR = tmp_path
    settings.BOARD = settings.PLAYGROUND = True
    return tmp_path


def client() -> httpx.AsyncClient:
    """A client of a server with the pages, and a protocol that answers what they leave to it."""

    pages = Pages(BOARD, PLAYGROUND)

    async def graphql(request: Request) -> Response:
        return pages.playground(request) or PlainTextResponse("protocol")

    others = SecurityHeaders(Starlette(routes=pages.routes()))
    app = Starlette(routes=[Route("/graphql/", graphql), Mount("/", others)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


@pytest.mark.usefixtures("build")
async def test_board_is_served_at_the_root() -> None:
    response = await client().get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert "board" in response.text


@pytest.mark.usefixtures("build")
async def test_playground_is_served_at_the_endpoint() -> None:
    response = await client().get("/graphql/")
    assert response.status_code == 200
    assert "playground" in response.text
    assert response.headers["vary"] == "Accept"  # the same address answers the protocol, too


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("path", ["/", "/graphql/", "/assets/board-D6lzcnrz.js"])
async def test_every_answer_carries_a_strict_policy(path: str) -> None:
    headers = (await client().get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy  # so scripts are held to default-src
    assert "unsafe-eval" not in policy
    assert ("unsafe-inline" in policy) == (path == "/graphql/")
    assert not re.search(r"https?:|\*", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.usefixtures("build")
async def test_browsers_keep_assets_for_ever() -> None:
    response = await client().get("/assets/board-D6lzcnrz.js")
    assert response.text == "live()"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await client().get("/assets/gone.js")).status_code == 404


async def test_icon_is_there_with_the_pages_off(settings: Settings) -> None:
    settings.BOARD = settings.PLAYGROUND = False
    response = await client().get("/favicon.ico")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("image/svg+xml")
    assert "default-src 'self'" in response.headers["content-security-policy"]


async def test_assets_travel_compressed_to_who_accepts_it(build: Path) -> None:
    (build / "assets" / "board-D6lzcnrz.js.gz").write_bytes(gzip.compress(b"live()"))
    plain, *zipped = [
        await client().get("/assets/board-D6lzcnrz.js", headers={"Accept-Encoding": encodings})
        for encodings in ("identity", "gzip, deflate, br", "gzip")
    ]
    assert "content-encoding" not in plain.headers
    for response in zipped:
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["content-type"] == plain.headers["content-type"]
        assert response.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert "immutable" in response.headers["cache-control"]
        assert response.text == plain.text == "live()"


@pytest.mark.parametrize(("name", "path"), [("BOARD", "/"), ("PLAYGROUND", "/graphql/")])
async def test_setting_turns_a_page_off(
    name: str, path: str, build: Path, settings: Settings
) -> None:
    setattr(settings, name, False)
    other = "/graphql/" if path == "/" else "/"
    page = name.lower()
    async with client() as http:
        assert page not in (await http.get(path)).text
        left = await http.get(other)
        assert 'data-pages="' in left.text
        assert page not in left.text
        assert (await http.get("/assets/board-D6lzcnrz.js")).status_code == 200


def test_both_pages_off_leave_nothing(build: Path, settings: Settings) -> None:
    settings.BOARD = settings.PLAYGROUND = False
    settings.ICON = build / "no-icon.svg"
    assert Pages(BOARD, PLAYGROUND).routes() == []


async def test_missing_build_is_one_line_in_the_log(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PAGES_DIR = tmp_path / "never-built"
    settings.BOARD = settings.PLAYGROUND = True
    with caplog.at_level(logging.WARNING, logger="app.web.pages"):
        http = client()
    (record,) = caplog.records
    assert "the board at / and the playground at /graphql/" in record.message
    assert "make pages" in record.message
    assert "\n" not in record.message

    for path, name in [("/", "the board"), ("/graphql/", "the playground")]:
        response = await http.get(path)
        assert response.status_code == 503
        assert name in response.text
        assert "make pages" in response.text
    assert (await http.get("/assets/board.js")).status_code == 404


@pytest.mark.usefixtures("build")
def test_built_pages_leave_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    Pages(BOARD, PLAYGROUND)
    assert not caplog.records
