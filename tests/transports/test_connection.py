"""A connection: every task ends, for the reason that it is closed for."""

import asyncio
from typing import Any

import pytest

from app.transports.connection import TOO_SLOW, Close, CloseError, Connection
from tests.transports.strangers import connection_of


class Server:
    """Stands for uvicorn: what `receive` and `send` of a connection belong to."""

    def __init__(self) -> None:
        self.transport = self
        self.is_cut = False
        self.unread_bytes = 0
        self.sent: list[Any] = []
        self.error: Exception | None = None
        self.is_writable = asyncio.Event()
        self.is_writable.set()

    def abort(self) -> None:
        """Cut the connection."""
        self.is_cut = True

    def get_write_buffer_size(self) -> int:
        """How much the client has not read."""
        return self.unread_bytes

    async def receive(self) -> Any:
        """Nothing ever comes."""
        await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        """Send when the client reads."""
        await self.is_writable.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(message)


@pytest.fixture
def server() -> Server:
    """A server with one connection."""
    return Server()


@pytest.fixture
def connection(server: Server) -> Connection:
    """The connection to it."""
    return connection_of(server.receive, server.send)


async def forever() -> None:
    """Read, and nothing comes."""
    await asyncio.Event().wait()


async def started(connection: Connection, server: Server) -> asyncio.Task[Close | None]:
    """The task of a connection that reads and writes."""
    task = asyncio.create_task(connection.run(forever(), server.send))
    await asyncio.sleep(0)
    return task


async def test_connection_ends_with_the_reason_it_is_closed_for(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    end = Close(4408, "Too late")
    connection.close(end)
    connection.close(Close(1000, "Second"))
    assert await task is end
    assert task.cancelling() == 0
    assert len(asyncio.all_tasks()) == 1


async def test_connection_ends_with_what_its_reader_raises(
    connection: Connection, server: Server
) -> None:
    end = CloseError(4400, "Nonsense")

    async def read() -> None:
        raise end

    assert await connection.run(read(), server.send) == Close(4400, "Nonsense")


async def test_connection_ends_without_a_reason_when_the_client_has_gone(
    connection: Connection, server: Server
) -> None:
    async def read() -> None:
        """The client says goodbye."""

    assert await connection.run(read(), server.send) is None


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after websocket.close")])
async def test_failed_write_ends_the_connection(
    error: Exception, connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    server.error = error
    connection.outbox.append(b"hello")
    assert await task is None
    assert len(asyncio.all_tasks()) == 1


async def test_connection_that_is_cancelled_from_outside_stays_cancelled(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    connection.close(Close(1012, "Service restart"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_connection_is_stuck_while_a_message_is_unread(
    connection: Connection, server: Server
) -> None:
    loop = asyncio.get_running_loop()
    task = await started(connection, server)
    assert not connection.is_stuck(loop.time() + 1000, 20)
    server.is_writable.clear()
    connection.outbox.append(b"hello")
    await asyncio.sleep(0)
    assert not connection.is_stuck(loop.time(), 20)
    assert connection.is_stuck(loop.time() + 21, 20)
    server.is_writable.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert server.sent == [b"hello"]
    assert not connection.is_stuck(loop.time() + 1000, 20)
    connection.close(None)
    await task


async def test_connection_is_stuck_when_pongs_pile_up(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    connection.outbox.append(b"x" * 5_000_000)
    await asyncio.sleep(0)
    server.unread_bytes = 5_000_000  # a result may be as large as it is
    assert not connection.is_stuck(0, 20)
    server.unread_bytes = 7_000_000
    assert connection.is_stuck(0, 20)
    connection.close(None)
    await task


async def test_close_message_is_sent(connection: Connection, server: Server) -> None:
    await connection.finish(server.send, {"type": "bye"})
    assert server.sent == [{"type": "bye"}]
    assert not server.is_cut


async def test_client_that_does_not_read_the_close_message_is_cut_off(
    connection: Connection, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.transports.connection.CLOSE_TIMEOUT_SECONDS", 0.01)
    server.is_writable.clear()
    await connection.finish(server.send, {"type": "bye"})
    assert server.is_cut


async def test_client_that_is_too_slow_is_cut_off_at_once(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    server.is_writable.clear()
    connection.close(TOO_SLOW)
    await task
    async with asyncio.timeout(0.5):
        await connection.finish(server.send, {"type": "bye"})
    assert server.is_cut


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after websocket.close")])
async def test_close_message_to_who_has_gone_is_nothing(
    error: Exception, connection: Connection, server: Server
) -> None:
    server.error = error
    await connection.finish(server.send, {"type": "bye"})
    assert not server.is_cut


async def test_error_of_the_reader_is_raised(connection: Connection, server: Server) -> None:
    async def read() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.run(read(), server.send)
    assert len(asyncio.all_tasks()) == 1
