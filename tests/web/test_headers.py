"""What keeps browsers from reading more into an answer than it is, and from what it must not do."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from app.web.headers import SecurityHeaders
from app.web.pages import STRICT, security_headers
from tests.clients import get
from tests.conftest import StartServer
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.

PATHS = {
    "/login/": 200,
    "/admin/login/": 200,
    "/admin/": 302,
    "/nothing/": 404,
    "/static/admin/css/base.css": 200,
    "/static/nothing.css": 404,
    "/health/live": 200,
}


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_kept_to_this_site(path: str, guarded_server: Server) -> None:
    answer = await get(guarded_server, path)
    assert answer.status_code == PATHS[path]
    for name, value in security_headers().items():
        assert answer.headers.get_list(name) == [value]


async def test_form_that_is_refused_is_kept_to_this_site(guarded_server: Server) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"http://127.0.0.1:{guarded_server.port}/login/", data={"a": "b"}
        )
    assert answer.status_code == 403
    assert answer.headers["content-security-policy"] == STRICT


async def test_error_pages_under_debug_may_look_as_django_makes_them(server: Server) -> None:
    answer = await get(server, "/nothing/")
    assert answer.status_code == 404
    assert "<style>" in answer.text
    assert "content-security-policy" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await get(server, "/login/")).headers["content-security-policy"] == STRICT


async def test_what_an_application_says_itself_stays() -> None:
    mine = {"Content-Security-Policy": "default-src 'none'", "REFERRER-POLICY": "no-referrer"}
    app = SecurityHeaders(PlainTextResponse("", headers=mine))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.get("http://testserver/")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'"]
    assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_refusal_in_clear_is_kept_to_this_site(start_server: StartServer) -> None:
    server = start_server(HTTPS="true")
    answer = await get(server, "/", Host="evil.example")
    assert answer.status_code == 403
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("address", "action"),
    [
        ("/admin/", "'self'"),
        ("https://front.example/orders?new=1", "'self' https://front.example"),
        ("http://localhost:5173", "'self' http://localhost:5173"),
    ],
)
async def test_sign_in_may_lead_to_the_front_end_and_nowhere_else(
    address: str, action: str, start_server: StartServer
) -> None:
    server = start_server(LOGIN_REDIRECT_URL=address)
    policy = (await get(server, "/login/")).headers["content-security-policy"]
    assert policy == STRICT.replace("form-action 'self'", f"form-action {action}")
    assert (await get(server, "/admin/login/")).headers["content-security-policy"] == STRICT
