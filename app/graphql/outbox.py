"""Hold what a client has still to be sent: the newest of each kind, and no more."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

ROOM = 100


class Outbox:
    """The messages waiting for one client, in order of first arrival.

    A client that reads slowly gets the newest result of each subscription, so there are never
    more of those than subscriptions. Messages that must all arrive are bounded by whoever waits
    for `room` before taking on more.
    """

    def __init__(self) -> None:
        self.sent = 0
        """How many messages have been handed over for sending."""
        self.longest = 0
        """The length of the longest message among them."""
        self.writing_since: float | None = None
        """When the message now being sent was begun, in the event loop's time."""
        self._messages: dict[Hashable, str] = {}
        self._has_messages = asyncio.Event()
        self._owed = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, key: Hashable, message: str) -> None:
        """Send `message` as soon as the client reads, instead of an unsent one with this key."""
        self._messages[key] = message
        self._has_messages.set()

    def append(self, message: str) -> None:
        """Send `message` whatever comes after it."""
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
        """Send messages for ever. Raises what `send` raises."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_messages.wait()
            while self._messages:
                self.writing_since = loop.time()
                await send(self._pop())
            self.writing_since = None
            self._has_messages.clear()

    def _pop(self) -> str:
        key = next(iter(self._messages))
        if isinstance(key, _Owed):
            self._owed -= 1
            if self._owed < ROOM:
                self._has_room.set()
        message = self._messages.pop(key)
        self.sent += 1
        self.longest = max(self.longest, len(message))
        return message


class _Owed:
    """The key of a message that no other replaces."""

    __slots__ = ()
