"""Send a client what it takes, and hold the newest of each kind of what it does not take yet."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from app.graphql.eager import start

ROOM = 100


class Outbox:
    """The messages for one client, in order of first arrival.

    As long as the client reads, a message is sent within `put`: to wake a task for it takes longer
    than to send it. Otherwise messages wait here. A client that reads slowly gets the newest
    result of each subscription, so there are never more of those than subscriptions. Messages that
    must all arrive are bounded by whoever waits for `room` before taking on more.
    """

    def __init__(self) -> None:
        self.sent = 0
        """How many messages have been handed over for sending."""
        self.longest = 0
        """The length of the longest message among them."""
        self.writing_since: float | None = None
        """Since when a message waits for the client to read, in the event loop's time."""
        self._messages: dict[Hashable, str] = {}
        self._send: Callable[[str], Awaitable[None]] | None = None
        self._failure: asyncio.Future[None] | None = None
        self._is_sending = False
        self._rest: asyncio.Task[None] | None = None
        self._owed = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, key: Hashable, message: str) -> None:
        """Send `message` as soon as the client reads, instead of an unsent one with this key."""
        if self._is_sending or self._send is None:
            self._messages[key] = message
        else:
            self._begin(self._send, message)

    def append(self, message: str) -> None:
        """Send `message` whatever comes after it."""
        if self._is_sending or self._send is None:
            self._owed += 1
            if self._owed >= ROOM:
                self._has_room.clear()
        self.put(_Owed(), message)

    def drop(self, key: Hashable) -> None:
        """Do not send the message with this key, if it is still here."""
        self._messages.pop(key, None)

    async def room(self) -> None:
        """Wait until fewer than `ROOM` appended messages are unsent."""
        await self._has_room.wait()

    async def write(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send messages for ever, also within `put`. Raises what `send` raises."""
        self._send, self._failure = send, asyncio.get_running_loop().create_future()
        try:
            if self._messages:
                self._begin(send, self._pop())
            await self._failure
        finally:
            self._send = None
            if self._rest is not None:
                self._rest.cancel()
                await asyncio.wait((self._rest,))

    def _begin(self, send: Callable[[str], Awaitable[None]], message: str) -> None:
        self._is_sending = True
        self._rest = start(self._send_all(send, message))
        if self._rest is not None:
            self.writing_since = asyncio.get_running_loop().time()

    async def _send_all(self, send: Callable[[str], Awaitable[None]], message: str) -> None:
        try:
            while True:
                self.sent += 1
                if len(message) > self.longest:
                    self.longest = len(message)
                await send(message)
                if not self._messages:
                    break
                message = self._pop()
                self.writing_since = asyncio.get_running_loop().time()
        except Exception as error:
            self._send = None
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)
        self.writing_since = None
        self._is_sending = False

    def _pop(self) -> str:
        key = next(iter(self._messages))
        if isinstance(key, _Owed):
            self._owed -= 1
            if self._owed < ROOM:
                self._has_room.set()
        return self._messages.pop(key)


class _Owed:
    """The key of a message that no other replaces."""

    __slots__ = ()
