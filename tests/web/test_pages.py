"""The pages as a client sees them, on a build that the tests lay down."""

import gzip
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from app.web.headers import SecurityHeaders
from app.web.pages import PLAYGROUND, Page, Pages

pytestmark = pytest.mark.once

BOARD = Page("board", "/")


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A built frontend."""
    for name in ("board", "playground"):
        (tmp_path / f"{name}.html").write_text(f'<!doctype html><html lang="en">{name}</html>')
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "board-D6lzcnrz.js").write_text("live()")
    return tmp_path


def client(folder: Path, pages_on: Sequence[Page] = (BOARD, PLAYGROUND)) -> httpx.AsyncClient:
    """A client of a server with the pages, and a protocol that answers what they leave to it."""

    pages = Pages(folder, settings.ICON, pages_on)

    async def graphql(request: Request) -> Response:
        return pages.playground(request) or PlainTextResponse("protocol")

    others = SecurityHeaders(Starlette(routes=pages.routes()))
    app = Starlette(routes=[Route("/graphql/", graphql), Mount("/", others)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


async def test_board_is_served_at_the_root(build: Path) -> None:
    response = await client(build).get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert "board" in response.text


async def test_playground_is_served_at_the_endpoint(build: Path) -> None:
    response = await client(build).get("/graphql/")
    assert response.status_code == 200
    assert "playground" in response.text
    assert response.headers["vary"] == "Accept"  # the same address answers the protocol, too


@pytest.mark.parametrize("path", ["/", "/graphql/", "/assets/board-D6lzcnrz.js"])
async def test_every_answer_carries_a_strict_policy(path: str, build: Path) -> None:
    headers = (await client(build).get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy  # so scripts are held to default-src
    assert "unsafe-eval" not in policy
    assert ("unsafe-inline" in policy) == (path == "/graphql/")
    assert not re.search(r"https?:|\*", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


async def test_browsers_keep_assets_for_ever(build: Path) -> None:
    response = await client(build).get("/assets/board-D6lzcnrz.js")
    assert response.text == "live()"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await client(build).get("/assets/gone.js")).status_code == 404


async def test_icon_is_there_with_the_pages_off(build: Path) -> None:
    response = await client(build, []).get("/favicon.ico")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("image/svg+xml")
    assert "default-src 'self'" in response.headers["content-security-policy"]


async def test_assets_travel_compressed_to_who_accepts_it(build: Path) -> None:
    (build / "assets" / "board-D6lzcnrz.js.gz").write_bytes(gzip.compress(b"live()"))
    plain, *zipped = [
        await client(build).get("/assets/board-D6lzcnrz.js", headers={"Accept-Encoding": encodings})
        for encodings in ("identity", "gzip, deflate, br", "gzip")
    ]
    assert "content-encoding" not in plain.headers
    for response in zipped:
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["content-type"] == plain.headers["content-type"]
        assert response.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert "immutable" in response.headers["cache-control"]
        assert response.text == plain.text == "live()"


@pytest.mark.parametrize(
    ("page", "path", "other", "left_on"),
    [("board", "/", "/graphql/", PLAYGROUND), ("playground", "/graphql/", "/", BOARD)],
)
async def test_a_page_may_be_off(
    page: str, path: str, other: str, left_on: Page, build: Path
) -> None:
    async with client(build, [left_on]) as http:
        assert page not in (await http.get(path)).text
        left = await http.get(other)
        assert 'data-pages="' in left.text
        assert page not in left.text
        assert (await http.get("/assets/board-D6lzcnrz.js")).status_code == 200


def test_both_pages_off_leave_nothing(build: Path) -> None:
    assert Pages(build, build / "no-icon.svg", []).routes() == []


async def test_missing_build_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="app.web.pages"):
        http = client(tmp_path / "never-built")
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


def test_built_pages_leave_the_log_alone(build: Path, caplog: pytest.LogCaptureFixture) -> None:
    Pages(build, settings.ICON, [BOARD, PLAYGROUND])
    assert not caplog.records
