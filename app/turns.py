"""Let expensive work be done by turns, so that it does not keep the event loop from the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from time import thread_time
from typing import Final

from .database.fairness import Consumer, FairSemaphore

LONGEST_TURN_SECONDS: Final = 1.0
"""After that, who is still at work, waiting for a slow database say, no longer counts."""

IS_EXPENSIVE: ContextVar[bool] = ContextVar("IS_EXPENSIVE", default=False)
"""Whether this task's work keeps the event loop from all others for a while."""


class Turns:
    """Lets many tasks do cheap work at a time, and one task expensive work.

    Expensive work is followed by a pause as long as itself, in which others get done what has come
    meanwhile; else each of their steps would have to wait for an expensive one.
    """

    def __init__(self, at_once: int) -> None:
        self.cheap: Final = FairSemaphore(at_once)
        self.expensive: Final = FairSemaphore(1)
        self._documents = FairSemaphore(1)

    async def begin(self, kind: str, *, is_expensive: bool) -> "Turn":
        """Wait for a turn, which lasts until its `end`, or `LONGEST_TURN_SECONDS`."""
        semaphore = self.expensive if is_expensive else self.cheap
        return Turn(semaphore, await semaphore.acquire(kind), is_expensive)

    async def begin_document(self) -> "Turn":
        """Wait for a turn to parse a document, which is expensive, and never waits for anything."""
        return Turn(self._documents, await self._documents.acquire(), is_paced=True)


class Turn:
    """One task's turn."""

    __slots__ = ("_began", "_consumer", "_semaphore", "_timer")

    def __init__(self, semaphore: FairSemaphore, consumer: Consumer, is_paced: bool) -> None:
        self._semaphore = semaphore
        self._consumer = consumer
        self._began = thread_time() if is_paced else None
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            LONGEST_TURN_SECONDS, self.end
        )

    def end(self) -> None:
        """Let the next begin. A second call does nothing."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if self._began is None:
            self._semaphore.release(self._consumer)
        else:
            loop, pause = asyncio.get_running_loop(), thread_time() - self._began
            loop.call_later(pause, self._semaphore.release, self._consumer)


class Steps:
    """Lets one task take a step in each round of the event loop, by consumers in turn."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(1)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a step, and take it within the block, which must not await."""
        consumer = await self._semaphore.acquire()
        try:
            yield
            await asyncio.sleep(0)  # Or all who come in this round would take theirs in it.
        finally:
            self._semaphore.release(consumer)
