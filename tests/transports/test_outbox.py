"""The outbox: newest wins, and nothing owed is lost."""

import asyncio
from collections import deque
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.transports.outbox import MAX_APPENDED, Newest, Outbox
from tests.live.steps import Steps

pytestmark = pytest.mark.once

NUMBERS = st.integers(0, 3)


class Client:
    """Takes a message each time it is told to read."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self._turns = asyncio.Semaphore(0)

    async def send(self, message: bytes) -> None:
        """Wait until the client reads, as a server's `send` does."""
        await self._turns.acquire()
        self.received.append(message.decode())

    def write(self, *parts: bytes) -> int:
        """Send at once if the client reads, as `LimitedWebSocket.write` does."""
        if self._turns.locked():
            return 0
        self._turns._value -= 1
        self.received.append(b"".join(parts).decode())
        return sum(map(len, parts))

    def read(self) -> None:
        """Take one message."""
        self._turns.release()


class Writing(RuleBasedStateMachine):
    """An outbox against its model: keys in order of first arrival, each with its newest."""

    can_write = False

    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps()
        self.outbox = Outbox(is_eager=True)
        self.client = Client()
        self.failures: list[Exception] = []
        write = self.client.write if self.can_write else None
        self.steps.call(partial(self.outbox.open, self.client.send, self.failures.append, write))
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
            self.steps.call(partial(self.outbox.put, number, message.encode()))
            self.waiting[number] = message
            self._take()
        self._settle()

    @rule(many=st.integers(1, 60))
    def append(self, many: int) -> None:
        for _ in range(many):
            self.count += 1
            self.steps.call(partial(self.outbox.append, f"owed {self.count}".encode()))
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
        closing = self.steps.call(lambda: self.steps.loop.create_task(self.outbox.close()))
        self.steps.turn(10)
        assert closing.done()
        assert self.failures == []
        self.steps.close()


class WritingAtOnce(Writing):
    """The same where the server has a way to send within the call."""

    can_write = True


TestWriting = Writing.TestCase
TestWritingAtOnce = WritingAtOnce.TestCase
for each in (TestWriting, TestWritingAtOnce):
    each.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_room_ends_with_the_hundredth_message_that_must_arrive() -> None:
    outbox, client = Outbox(is_eager=True), Client()
    for number in range(MAX_APPENDED - 1):
        outbox.append(b"owed %d" % number)
    for number in range(2 * MAX_APPENDED):
        outbox.put(number, b"newest")  # counts for nothing: there are as many as subscriptions
    async with asyncio.timeout(1):
        await outbox.drain()
    outbox.append(b"one too many")
    waiting = asyncio.create_task(outbox.drain())
    outbox.open(client.send, lambda error: pytest.fail(repr(error)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiting.done()  # the first is being sent
    outbox.append(b"one more")
    waiting = asyncio.create_task(outbox.drain())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    client.read()
    async with asyncio.timeout(1):
        await waiting
    await outbox.close()


async def test_who_sends_is_told_of_a_failure_once() -> None:
    failures: list[Exception] = []
    outbox = Outbox(is_eager=True)

    async def send(_: bytes) -> None:
        raise OSError

    outbox.put(1, b"first")
    outbox.open(send, failures.append)
    outbox.put(2, b"second")
    await outbox.close()
    assert [type(each) for each in failures] == [OSError]
    assert outbox.sent == 1


async def test_what_went_back_to_what_was_sent_is_not_sent_again() -> None:
    """Or a slow client would hear twice in a row of what has not changed for it."""
    outbox, client, key = Outbox(is_eager=True), Client(), Newest()
    outbox.open(client.send, print)
    for message in (b"a", b"b", b"a"):
        outbox.put(key, message)
    assert len(outbox) == 0
    outbox.put(key, b"b")
    outbox.put("other", b"c")
    for _ in range(3):
        client.read()
        await asyncio.sleep(0)
    assert client.received == ["a", "b", "c"]
    outbox.put(key, b"a")
    outbox.put(key, b"b")
    outbox.put(key, b"a")
    for _ in range(3):
        client.read()
        await asyncio.sleep(0)
    assert client.received == ["a", "b", "c", "a"]
    await outbox.close()


async def test_results_that_are_not_sent_are_counted() -> None:
    outbox, client = Outbox(is_eager=True), Client()
    outbox.open(client.send, lambda _: None)
    one, other = Newest(), Newest()
    outbox.put(one, b"1")  # under way
    for message in (b"2", b"3", b"4"):
        outbox.put(one, message)
    outbox.put(other, b"5")
    outbox.put("ping", b"6")
    outbox.put("ping", b"7")  # which is no result
    assert outbox.dropped == 2
    outbox.put(one, b"1")  # as it was before
    assert outbox.dropped == 3
    await outbox.close()
