"""Who waits until a replica has come to a position, and for how long at most."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings


@dataclass(slots=True)
class Arrival:
    """A position that any number of sources wait for."""

    position: int
    timer: asyncio.TimerHandle
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Arrivals:
    """The positions that are waited for; `on_late` is called after `LIVE_REPLICA_SECONDS` of it."""

    def __init__(self, on_late: Callable[[], object]) -> None:
        self._on_late = on_late
        self._expected: deque[Arrival] = deque()

    def __bool__(self) -> bool:
        return bool(self._expected)

    async def wait(self, position: int) -> None:
        """Return when `position` is reached, or all who wait are released."""
        if not self._expected or self._expected[-1].position < position:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(settings.LIVE_REPLICA_SECONDS, self._on_late)
            self._expected.append(Arrival(position, timer))
        await self._expected[-1].is_over.wait()

    def reach(self, position: int) -> None:
        """Let those go on who wait for no more than that."""
        while self._expected and self._expected[0].position <= position:
            self._end(self._expected.popleft())

    def release(self) -> None:
        """Let all go on."""
        while self._expected:
            self._end(self._expected.popleft())

    def _end(self, arrival: Arrival) -> None:
        arrival.timer.cancel()
        arrival.is_over.set()
