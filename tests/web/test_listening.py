"""Who stands before a listening socket when it closes."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.web.listening import Gate
from app.web.protocol import LimitedHTTP
from tests.protocols.raw import PATIENCE_SECONDS, read_to_end
from tests.server import free_port

pytestmark = pytest.mark.once

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whatever is asked."""
    await PlainTextResponse("done")(scope, receive, send)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    """A uvicorn in this process, which listens."""
    config = uvicorn.Config(
        application,
        host="localhost",  # perhaps two sockets: 127.0.0.1 and ::1
        port=free_port(),
        http=LimitedHTTP,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not server.started:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        yield server
        server.should_exit = True
        await task


def late_client(server: uvicorn.Server) -> socket.socket:
    """Who has connected and sent a request, while the event loop does something else."""
    connection = socket.create_connection(("localhost", server.config.port), PATIENCE_SECONDS)
    connection.sendall(POST)
    return connection


async def test_who_was_not_accepted_yet_is_answered(server: uvicorn.Server) -> None:
    clients = [late_client(server) for _ in range(3)]
    Gate(server, server.servers[0]).close()
    with pytest.raises(ConnectionRefusedError):
        late_client(server)
    for client in clients:
        with client:
            answer = await asyncio.to_thread(read_to_end, client)
            assert answer.endswith(b"done")
            assert b"connection: close\r\n" in answer


async def test_without_it_they_are_reset(server: uvicorn.Server) -> None:
    """If that changes one day, it is not needed any more."""
    with late_client(server) as client:
        server.servers[0].close()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(client.recv, 1000)
