"""What wraps a server's `send` may do as it likes: it cannot disturb who has a message sent."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from app.live import Failures, Live
from app.transports.connection import Close, Connection
from tests.transports.strangers import connection_of


async def receive() -> Any:
    """A client that says nothing."""
    await asyncio.Event().wait()


class Server:
    """A server whose clients do not read, unless one is told to."""

    def __init__(self) -> None:
        self.transport = object()  # by which its own `send` is known
        self.sent = asyncio.Queue[Any]()
        self.is_read = asyncio.Event()

    async def send(self, message: Any) -> None:
        """Send, as soon as the client reads."""
        await self.is_read.wait()
        self.sent.put_nowait(message)


class Subscriber:
    """Puts what it is told into the outbox of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def next(self, result: bytes) -> None:
        """Send a result."""
        self.connection.outbox.put("result", result)

    def error(self, errors: str) -> None:
        """Send the errors."""
        self.connection.outbox.append(errors.encode())

    def complete(self) -> None:
        """Nothing more."""


async def test_timeout_around_send_ends_nobody_elses_subscription() -> None:
    changed = asyncio.Queue[str]()
    impatient, patient = Server(), Server()
    patient.is_read.set()

    async def send_in_time(message: Any) -> None:
        async with asyncio.timeout(0.01):  # cancels the task that it is entered in
            await impatient.send(message)

    async def results() -> AsyncGenerator[str, None]:
        while True:
            yield await changed.get()

    connections = {connection_of(receive, send): send for send in (send_in_time, patient.send)}
    async with asyncio.timeout(10), Live(Failures(lambda _: False, repr)) as live:
        tasks = [
            asyncio.create_task(connection.run(receive(), send))
            for connection, send in connections.items()
        ]
        await asyncio.sleep(0)  # for the writers to begin
        for connection in connections:
            live.join("key", results, Subscriber(connection))
        for number in range(3):
            changed.put_nowait(f"result {number}")
            assert await patient.sent.get() == b"result %d" % number
        (first, _) = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        # Only the connection whose message was not sent in time has ended.
        assert [task.result() for task in first] == [None]
        assert not tasks[1].done()
        for connection in connections:
            connection.close(Close(1000, "done"))
        await asyncio.wait(tasks)


async def test_servers_own_send_is_called_at_once() -> None:
    server = Server()
    server.is_read.set()
    connection = connection_of(receive, server.send)
    task = asyncio.create_task(connection.run(receive(), server.send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connection.outbox.put("key", b"hello")
    assert server.sent.get_nowait() == b"hello"
    connection.close(None)
    await task
