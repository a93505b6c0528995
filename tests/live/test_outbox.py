"""The outbox and the connection: newest wins, nothing owed is lost, and every task ends."""

import asyncio
from collections import deque
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.transports.connection import TOO_SLOW, Close, CloseError, Connection
from app.transports.outbox import MAX_APPENDED, Outbox
from app.viewer import Session, Viewer
from tests.live.steps import Steps

NUMBERS = st.integers(0, 3)


class Client:
    """Takes a message each time it is told to read."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self._turns = asyncio.Semaphore(0)

    async def send(self, message: str) -> None:
        """Wait until the client reads, as a server's `send` does."""
        await self._turns.acquire()
        self.received.append(message)

    def read(self) -> None:
        """Take one message."""
        self._turns.release()


class Writing(RuleBasedStateMachine):
    """An outbox against its model: keys in order of first arrival, each with its newest."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps()
        self.outbox = Outbox(is_eager=True)
        self.client = Client()
        self.writer = self.steps.call(
            lambda: self.steps.loop.create_task(self.outbox.write(self.client.send))
        )
        self.steps.turn()
        self.waiting: dict[object, str] = {}
        self.sending: deque[str] = deque()
        self.expected: list[str] = []
        self.reads = 0
        self.count = 0

    def _settle(self) -> None:
        """What the writer does once it is its turn."""
        self.steps.turn(10)
        self._take()

    def _take(self) -> None:
        """What is sent at once: the oldest, and the next as long as the client reads."""
        while self.waiting and not self.sending:
            self.sending.append(self.waiting.pop(next(iter(self.waiting))))
            if self.reads:
                self.reads -= 1
                self.expected.append(self.sending.popleft())

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=5))
    def put(self, numbers: list[int]) -> None:
        for number in numbers:
            self.count += 1
            message = f"{number}: {self.count}"
            self.steps.call(partial(self.outbox.put, number, message))
            self.waiting[number] = message
            self._take()
        self._settle()

    @rule(many=st.integers(1, 60))
    def append(self, many: int) -> None:
        for _ in range(many):
            self.count += 1
            self.steps.call(partial(self.outbox.append, f"owed {self.count}"))
            self.waiting[object()] = f"owed {self.count}"
            self._take()
        self._settle()

    @rule(number=NUMBERS)
    def drop(self, number: int) -> None:
        self.outbox.drop(number)
        self.waiting.pop(number, None)
        self._settle()

    @rule(many=st.integers(1, 80))
    def read(self, many: int) -> None:
        for _ in range(many):
            self.client.read()
            if self.sending:
                self.expected.append(self.sending.popleft())
            else:
                self.reads += 1
            self._settle()

    @rule()
    def wait_for_room(self) -> None:
        waiting = self.steps.loop.create_task(self.outbox.drain())
        self.steps.turn(3)
        owed = sum(message.startswith("owed") for message in self.waiting.values())
        assert waiting.done() == (owed < MAX_APPENDED)
        if not waiting.done():
            for _ in range(len(self.waiting)):
                self.read(1)
            self.steps.turn(3)
            assert waiting.done()

    @invariant()
    def received_is_expected(self) -> None:
        assert self.client.received == self.expected
        assert len(self.outbox) == len(self.waiting)
        assert (self.outbox.writing_since is not None) == bool(self.sending)
        assert self.outbox.sent == len(self.expected) + len(self.sending)

    def teardown(self) -> None:
        self.writer.cancel()
        self.steps.turn()
        self.steps.close()


TestWriting = Writing.TestCase
TestWriting.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_room_ends_with_the_hundredth_message_that_must_arrive() -> None:
    outbox, client = Outbox(is_eager=True), Client()
    for number in range(MAX_APPENDED - 1):
        outbox.append(f"owed {number}")
    for number in range(2 * MAX_APPENDED):
        outbox.put(number, "newest")  # counts for nothing: there are as many as subscriptions
    async with asyncio.timeout(1):
        await outbox.drain()
    outbox.append("one too many")
    waiting = asyncio.create_task(outbox.drain())
    writer = asyncio.create_task(outbox.write(client.send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiting.done()  # the writer has taken the first
    outbox.append("one more")
    waiting = asyncio.create_task(outbox.drain())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    client.read()
    async with asyncio.timeout(1):
        await waiting
    writer.cancel()
    await asyncio.wait((writer,))


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
    """The connection of that connection."""
    return Connection(server.receive, server.send, Session("", Viewer()))


async def forever() -> None:
    """Read, and nothing comes."""
    await asyncio.Event().wait()


async def started(connection: Connection, server: Server) -> asyncio.Task[Close | None]:
    """The task of a connection that reads and writes."""
    task = asyncio.create_task(connection.run(forever(), server.send))
    await asyncio.sleep(0)
    return task


async def test_link_ends_with_the_reason_it_is_closed_for(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    end = Close(4408, "Too late")
    connection.close(end)
    connection.close(Close(1000, "Second"))
    assert await task is end
    assert task.cancelling() == 0
    assert len(asyncio.all_tasks()) == 1


async def test_link_ends_with_what_its_reader_raises(
    connection: Connection, server: Server
) -> None:
    end = CloseError(4400, "Nonsense")

    async def read() -> None:
        raise end

    assert await connection.run(read(), server.send) == Close(4400, "Nonsense")


async def test_link_ends_without_a_reason_when_the_client_has_gone(
    connection: Connection, server: Server
) -> None:
    async def read() -> None:
        """The client says goodbye."""

    assert await connection.run(read(), server.send) is None


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after websocket.close")])
async def test_failed_write_ends_the_link(
    error: Exception, connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    server.error = error
    connection.outbox.append("hello")
    assert await task is None
    assert len(asyncio.all_tasks()) == 1


async def test_link_that_is_cancelled_from_outside_stays_cancelled(
    connection: Connection, server: Server
) -> None:
    task = await started(connection, server)
    connection.close(Close(1012, "Service restart"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_error_of_the_reader_is_raised(connection: Connection, server: Server) -> None:
    async def read() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connection.run(read(), server.send)
    assert len(asyncio.all_tasks()) == 1


async def test_link_is_stuck_while_a_message_is_unread(
    connection: Connection, server: Server
) -> None:
    loop = asyncio.get_running_loop()
    task = await started(connection, server)
    assert not connection.is_stuck(loop.time() + 1000, 20)
    server.is_writable.clear()
    connection.outbox.append("hello")
    await asyncio.sleep(0)
    assert not connection.is_stuck(loop.time(), 20)
    assert connection.is_stuck(loop.time() + 21, 20)
    server.is_writable.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert server.sent == ["hello"]
    assert not connection.is_stuck(loop.time() + 1000, 20)
    connection.close(None)
    await task


async def test_link_is_stuck_when_pongs_pile_up(connection: Connection, server: Server) -> None:
    task = await started(connection, server)
    connection.outbox.append("x" * 5_000_000)
    await asyncio.sleep(0)
    server.unread_bytes = 5_000_000  # a result may be as large as it is
    assert not connection.is_stuck(0, 20)
    server.unread_bytes = 7_000_000
    assert connection.is_stuck(0, 20)
    connection.close(None)
    await task


async def test_farewell_is_sent(connection: Connection, server: Server) -> None:
    await connection.finish(server.send, {"type": "bye"})
    assert server.sent == [{"type": "bye"}]
    assert not server.is_cut


async def test_client_that_does_not_read_the_farewell_is_cut_off(
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
async def test_farewell_to_who_has_gone_is_nothing(
    error: Exception, connection: Connection, server: Server
) -> None:
    server.error = error
    await connection.finish(server.send, {"type": "bye"})
    assert not server.is_cut
