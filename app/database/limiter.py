"""Let a bounded number of callers in; the others wait, until a deadline."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from time import monotonic

from .fairness import Consumer, FairSemaphore


class CapacityLimiter:
    """`size` slots of one event loop, which consumers take in turn, and counts for statistics."""

    def __init__(self, size: int, timeout_seconds: float, max_waiting: int = 0) -> None:
        self.size = size
        self.timeout_seconds = timeout_seconds
        self._max_waiting = max_waiting or math.inf
        self.waiting = self.requests = self.queued = self.errors = 0
        self.wait_seconds = 0.0
        self._slots = FairSemaphore(size)

    async def acquire(self) -> Consumer:
        """Take a slot: who holds it, as `release` wants to know.

        Raise `TimeoutError` if none becomes free in time, `QueueFull` if too many wait already.
        """
        self.requests += 1
        if self._slots.is_open():
            return await self._slots.acquire()  # at once
        if self.waiting >= self._max_waiting:
            self.errors += 1
            raise asyncio.QueueFull
        self.queued += 1
        self.waiting += 1
        began = monotonic()
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._slots.acquire()
        except TimeoutError:
            self.errors += 1
            raise
        finally:
            self.waiting -= 1
            self.wait_seconds += monotonic() - began

    def release(self, consumer: Consumer) -> None:
        """Let the next in."""
        self._slots.release(consumer)

    def why_closed(self) -> str | None:
        """Why this task would have to wait; None if it need not."""
        if self._slots.is_open():
            return None
        held = self._slots.size if self._slots.is_empty() else self._slots.share
        whose = "" if self._slots.is_empty() else " by this viewer, who may have no more"
        which = "all " if self._slots.is_empty() else ""
        return f"{which}{held} are in use{whose}, {self.waiting} others wait"


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
