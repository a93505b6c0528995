"""Let a bounded number of callers in; the others wait in a queue, until a deadline."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import monotonic


class CapacityLimiter:
    """`size` slots of one event loop, given in the order of asking, and counts for statistics."""

    def __init__(self, size: int, timeout_seconds: float, max_waiting: int = 0) -> None:
        self.size = size
        self.timeout_seconds = timeout_seconds
        self._max_waiting = max_waiting or math.inf
        self.waiting = self.requests = self.queued = self.errors = 0
        self.wait_seconds = 0.0
        self._free = asyncio.Semaphore(size)

    async def acquire(self) -> None:
        """Take a slot.

        Raise `TimeoutError` if none becomes free in time, `QueueFull` if too many wait already.
        """
        self.requests += 1
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        if self.waiting >= self._max_waiting:
            self.errors += 1
            raise asyncio.QueueFull
        self.queued += 1
        self.waiting += 1
        began = monotonic()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self._free.acquire()
        except TimeoutError:
            self.errors += 1
            raise
        finally:
            self.waiting -= 1
            self.wait_seconds += monotonic() - began

    def release(self) -> None:
        """Let the next in."""
        self._free.release()


@dataclass(frozen=True)
class Statistics:
    """A pool of connections or threads at one moment; the second group counts since it opened."""

    name: str
    max_size: int
    size: int
    idle: int
    waiting: int

    requests: int = 0
    queued: int = 0
    errors: int = 0
    wait_seconds: float = 0.0
    opened: int = 0
    lost: int = 0
