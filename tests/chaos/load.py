"""How long programs waited for a processor that others had: that time is excused."""

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.world import World, now

LOOK_SECONDS: Final = 0.5


class Load:
    """Notes how long this process and those that serve had to wait for a processor."""

    def __init__(self, world: World, processes: Callable[[], Iterable[int]]) -> None:
        self._world = world
        self._processes = processes

    async def watch(self) -> None:
        """Excuse as much time as one of them, the unluckiest each time, had to wait."""
        last, waited = now(), self._waited()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            before, last = last, now()
            waited_before, waited = waited, self._waited()
            both = waited.keys() & waited_before.keys()
            longest = max((waited[pid] - waited_before[pid] for pid in both), default=0)
            late = last - before - LOOK_SECONDS
            waiting = min(max(longest, late), last - before)
            self._world.database_trouble.add(last - waiting, last)
            self._world.excused_seconds += waiting

    def _waited(self) -> dict[int, float]:
        """How many seconds each process has been ready to run and did not."""
        found = {}
        for pid in (os.getpid(), *self._processes()):
            with suppress(FileNotFoundError, ProcessLookupError):  # It has just ended.
                found[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        return found
