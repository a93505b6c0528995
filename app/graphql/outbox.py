"""Hold what a client has still to be sent: the newest of each kind, and no more."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

ROOM = 100


class Outbox:
    """The messages waiting for one client, in order of first arrival.

    A message replaces an unsent one with the same key, so a client that reads slowly gets the
    newest result of each subscription, and there are never more of them than subscriptions.
    Messages that must all arrive have a key each; `room` keeps their number bounded.
    """

    def __init__(self) -> None:
        self.writing_since: float | None = None
        """When the message now being sent was begun, in the event loop's time."""
        self._messages: dict[Hashable, str] = {}
        self._has_messages = asyncio.Event()
        self._has_room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, key: Hashable, message: str) -> None:
        """Send `message` as soon as the client reads, instead of an unsent one with this key."""
        self._messages[key] = message
        self._has_messages.set()

    def drop(self, key: Hashable) -> None:
        """Do not send the message with this key, if it is still here."""
        self._messages.pop(key, None)

    async def room(self) -> None:
        """Wait until fewer than `ROOM` messages are unsent: before taking on more to answer."""
        while len(self._messages) >= ROOM:
            self._has_room.clear()
            await self._has_room.wait()

    async def write(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send messages for ever. Raises what `send` raises."""
        loop = asyncio.get_running_loop()
        messages = self._messages
        while True:
            await self._has_messages.wait()
            while messages:
                message = messages.pop(next(iter(messages)))
                self.writing_since = loop.time()
                await send(message)
            self.writing_since = None
            self._has_messages.clear()
            self._has_room.set()
