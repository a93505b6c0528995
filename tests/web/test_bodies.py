"""Large bodies do not reach Django."""

import asyncio

import httpx
import pytest

from tests.protocols.raw import read_to_end, tcp
from tests.server import Server

pytestmark = pytest.mark.once  # No database has a part in it.

MOST = 2_621_440


TOO_LARGE = {
    "by its length": (f"Content-Length: {MOST + 1}", b""),
    "in chunks": ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (MOST + 1, b"x" * (MOST + 1))),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_large_body_does_not_reach_django(name: str, server: Server) -> None:
    header, body = TOO_LARGE[name]
    with tcp(server) as connection:
        head = f"POST /login/ HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
        await asyncio.to_thread(connection.sendall, head.encode() + body)
        received = await asyncio.to_thread(read_to_end, connection)
    assert received.startswith(b"HTTP/1.1 413 ")
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{server.port}/login/", content=b"x" * MOST)
    assert answer.status_code == 403  # Django's: there is no CSRF token.
