"""Send a client what it reads, and hold the newest of each kind of what it does not read yet."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any

from ..graphql.unread import Unread

MAX_APPENDED = 100
MAX_APPENDED_BYTES = 256 * 1024
"""While so many appended messages, or as long ones, are unsent, `drain` waits."""

Write = Callable[..., int]
"""Sends a message, given in parts, within the call; returns its bytes, or 0 since it cannot."""


class Newest:
    """A key of which a client is not told the same twice, though something else came in between."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent: tuple[bytes, ...] | None = None
        """The last message that was handed over for sending."""


class Outbox(Unread):
    """The messages for one client, in order of first arrival.

    As long as the client reads, a message is sent within `put`, if the outbox `is_eager`.
    Otherwise messages wait here. A client that reads slowly gets the newest result of each
    subscription, so there are never more of those than subscriptions; and what several clients
    wait for is kept once, since a message is put together when it is sent. Messages that must all
    arrive are bounded by whoever awaits `drain` before taking on more.
    """

    def __init__(self, *, is_eager: bool) -> None:
        super().__init__()
        self.sent = 0
        """How many messages have been handed over for sending."""
        self.dropped = 0
        """How many results were not sent, since a newer one came before the client read."""
        self.longest = 0
        """The length of the longest message among them, in bytes."""
        self.writing_since: float | None = None
        """Since when a message waits for the client to read, in the event loop's time."""
        self.appended_bytes = 0
        """Of the appended messages that are unsent."""
        self._is_eager = is_eager
        self._messages: dict[Hashable, tuple[bytes, ...]] = {}
        self._send: Callable[[bytes], Awaitable[None]] | None = None
        self._failed: Callable[[Exception], object] | None = None
        self._write: Write | None = None
        self._is_sending = self._is_closed = False
        self._sending: asyncio.Task[None] | None = None
        self._appended = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, key: Hashable, *message: bytes) -> None:
        """Send `message` as soon as the client reads, instead of an unsent one with this key.

        It may come in parts, of which others may have the same.
        """
        if self._is_closed:
            return
        if self._is_sending or self._send is None:
            self.dropped += isinstance(key, Newest) and key in self._messages
            if isinstance(key, Newest) and key.sent == message:
                self._messages.pop(key, None)
            else:
                self._messages[key] = message
        else:
            if isinstance(key, Newest):
                key.sent = message
            if self._write is not None and (size := self._write(*message)):
                self._count(size)
            else:
                self._begin(self._send, b"".join(message))

    def append(self, message: bytes) -> None:
        """Send `message` whatever comes after it."""
        if not self._is_closed and (self._is_sending or self._send is None):
            self._appended += 1
            self.appended_bytes += len(message)
        self.put(_Appended(), message)

    def drop(self, key: Hashable) -> None:
        """Do not send the message with this key, if it is still here."""
        self._messages.pop(key, None)

    def has_drained(self) -> bool:
        """Whether few appended messages are unsent, and no long ones."""
        return self._appended < MAX_APPENDED and self.appended_bytes < MAX_APPENDED_BYTES

    def open(
        self,
        send: Callable[[bytes], Awaitable[None]],
        failed: Callable[[Exception], object],
        write: Write | None = None,
    ) -> None:
        """Send messages from now on; `failed` is told what `send` raises, which ends it."""
        self._send, self._failed, self._write = send, failed, write
        if self._messages:
            self._begin(send, self._pop())

    async def close(self) -> None:
        """Send no more; drop what is left, and let nobody wait until it is sent."""
        self._send, self._is_closed = None, True
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait((self._sending,))
        self._messages.clear()
        self._appended = self.appended_bytes = 0
        self.wake_if_drained()

    def _begin(self, send: Callable[[bytes], Awaitable[None]], message: bytes) -> None:
        self._is_sending = True
        sending = self._send_all(send, message)
        self._sending = run_eagerly(sending) if self._is_eager else asyncio.create_task(sending)
        if self._sending is not None:
            self.writing_since = asyncio.get_running_loop().time()

    async def _send_all(self, send: Callable[[bytes], Awaitable[None]], message: bytes) -> None:
        try:
            while True:
                self._count(len(message))
                await send(message)
                if not self._messages:
                    break
                message = self._pop()
                self.writing_since = asyncio.get_running_loop().time()
        except Exception as error:
            self._send = None
            if self._failed is not None:
                self._failed(error)
        self.writing_since = None
        self._is_sending = False

    def _count(self, size: int) -> None:
        self.sent += 1
        if size > self.longest:
            self.longest = size

    def _pop(self) -> bytes:
        key = next(iter(self._messages))
        parts = self._messages.pop(key)
        message = b"".join(parts)
        if isinstance(key, Newest):
            key.sent = parts
        elif isinstance(key, _Appended):
            self._appended -= 1
            self.appended_bytes -= len(message)
            self.wake_if_drained()
        return message


class _Appended:
    """The key of a message that no other replaces."""

    __slots__ = ()


def run_eagerly(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `coroutine`, which must not raise, within this call until it first waits.

    Return the task that does the rest, or None if it is done. To wake a task for one message takes
    longer than to send it, and asyncio's own eager tasks (Python 3.12) take twice as long.

    Until it first waits, the coroutine runs in the caller's task, so it must not ask for the
    current task: `asyncio.timeout` there would cancel the caller. The servers' own `send` does not,
    what wraps it might. https://github.com/python/cpython/blob/3.13/Lib/asyncio/timeouts.py
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    task = asyncio.create_task(_go_on(coroutine, awaited))
    # A task that is cancelled before its first step never comes to close what it holds.
    task.add_done_callback(lambda _: coroutine.close())
    return task


async def _go_on(coroutine: Coroutine[Any, Any, None], awaited: object) -> None:
    await _rest(coroutine, awaited)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], awaited: object) -> Generator[Any, Any, None]:
    # What is awaited is a future that asks to be waited for, and the task does so in its
    # coroutine's place.
    yield awaited
    yield from coroutine
