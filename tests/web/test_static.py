"""Django's static files, served beside GraphQL."""

import pytest

from tests.clients import get
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.


@pytest.mark.parametrize("debug", [True, False])
async def test_admin_comes_with_its_styles(
    server: Server, guarded_server: Server, debug: bool
) -> None:
    chosen = server if debug else guarded_server
    page = await get(chosen, "/admin/login/")
    assert page.status_code == 200
    assert "/static/admin/css/base.css" in page.text
    style = await get(chosen, "/static/admin/css/base.css")
    assert style.status_code == 200
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    again = await get(
        chosen, "/static/admin/css/base.css", **{"If-None-Match": style.headers["etag"]}
    )
    assert again.status_code == 304
    for answer in (style, again):
        assert answer.headers["cache-control"] == "public, max-age=3600"


@pytest.mark.parametrize(
    "path", ["/static/", "/static/nothing.css", "/static/../settings.py", "/static/%2e%2e/asgi.py"]
)
async def test_only_static_files_are_served(server: Server, path: str) -> None:
    assert (await get(server, path)).status_code == 404
