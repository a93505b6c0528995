"""Texts that are written past `send` are the same frames, and only while the client reads."""

import asyncio
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from app.web.websocket import PIECE_BYTES
from tests.conftest import StartServer
from tests.protocols.raw import ACK, INIT, frame, handshake, read_to_end, read_until, tcp
from tests.server import Server

pytestmark = pytest.mark.once

SIZES = (0, 1, 125, 126, PIECE_BYTES, 65_535, 65_536, 1_000_000)
"""On both sides of where the head of a frame grows (RFC 6455, section 5.2)."""


class Writing(Server):
    """A server that writes texts of the sizes that it is asked for."""

    application = "tests.web.writing:application"
    arguments: tuple[str, ...] = ("--lifespan=off",)
    ready_path = "/"


class Compressing(Writing):
    """The same with permessage-deflate."""

    arguments = ("--lifespan=off", "--ws-per-message-deflate=true")


class Pinging(Server):
    """A server whose clients have to answer fast."""

    arguments = ("--ws-ping-interval=0.2", "--ws-ping-timeout=0.3")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    with Writing(tmp_path_factory.mktemp("writing") / "log", "sqlite://:memory:") as server:
        yield server


@pytest.mark.parametrize("size", SIZES)
async def test_text_of_any_size_arrives_as_one_message(server: Writing, size: int) -> None:
    async with asyncio.timeout(10), connect(address(server), max_size=None) as client:
        await client.send(f"{size} 1")
        assert await client.recv() == "0" * size
        assert await client.recv() == "0 of 1 were not written"


async def test_nothing_is_written_while_the_client_does_not_read(server: Writing) -> None:
    async with asyncio.timeout(30), connect(address(server), max_queue=1) as client:
        await client.send("1000 50000")
        # Of 50 MB, the kernel takes some before the server has to wait.
        read = 0
        while "written" not in (text := str(await client.recv())):
            assert int(text) == read
            read += 1
        assert 0 < read < 50_000
        assert text == f"{50_000 - read} of 50000 were not written"
        # Now it reads again.
        await client.send("1000 1")
        assert int(await client.recv()) == 0


async def test_where_texts_are_compressed_none_is_written(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    log = tmp_path_factory.mktemp("compressing") / "log"
    with Compressing(log, "sqlite://:memory:") as server:
        async with asyncio.timeout(10), connect(address(server)) as client:
            await client.send("1000 3")
            assert await client.recv() == "3 of 3 were not written"
        async with asyncio.timeout(10), connect(address(server), compression=None) as client:
            await client.send("1000 1")
            assert int(await client.recv()) == 0


async def test_nothing_is_written_to_who_has_gone(server: Writing) -> None:
    async with asyncio.timeout(10), connect(address(server)) as client:
        client.transport.pause_reading()
        await client.send("100000 5000")
        client.transport.abort()
    async with asyncio.timeout(10), connect(address(server)) as client:
        await client.send("10 1")
        assert int(await client.recv()) == 0
    assert "Traceback" not in server.log


def test_one_ping_is_enough(share_server: StartServer, transactional_db: None) -> None:
    """uvicorn sends none where the subprotocol has pings that must be answered."""
    server = share_server(Pinging, DEBUG="true", OPEN_ACCESS="true")
    with tcp(server) as modern, tcp(server) as legacy:
        for connection, subprotocol in ((modern, "graphql-transport-ws"), (legacy, "graphql-ws")):
            connection.sendall(handshake(server, subprotocol))
            read_until(connection, b"\r\n\r\n")
            connection.sendall(frame(INIT.encode()))
            read_until(connection, ACK)
        # The older one has no pongs. Neither of these clients answers uvicorn's pings.
        assert b"keepalive ping timeout" in read_to_end(legacy)
        modern.sendall(frame(b'{"type":"ping"}'))
        assert read_until(modern, b'{"type":"pong"}') == b'\x81\x0f{"type":"pong"}'


def address(server: Server) -> str:
    """Where its WebSocket is."""
    return f"ws://127.0.0.1:{server.port}/"
