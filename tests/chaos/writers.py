"""Writers, who carry out what is planned and tell what has failed."""

import asyncio
from typing import Final

from tests.chaos.plan import Write
from tests.chaos.routes import FAILURES, ROUTES, Target, WriteFailedError
from tests.chaos.world import now

ROUTES_OF: Final = {
    "postgresql": tuple(name for name in ROUTES if name != "sqlite3"),
    "sqlite": tuple(name for name in ROUTES if name not in ("copy", "psql")),
}


class Writer:
    """Carries out planned writes, one after the other."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._world = target.world

    async def run(self, writes: tuple[Write, ...]) -> None:
        """Write as planned."""
        for write in writes:
            await asyncio.sleep(write.pause)
            async with self._world.gate.passing():
                await self._write(write)

    async def _write(self, write: Write) -> None:
        began_at = now()
        try:
            await ROUTES[write.route](self._target, write.number)
        except (*FAILURES, WriteFailedError) as error:
            self._world.counts[f"writes failed {write.route}"] += 1
            if not self._world.trouble.overlaps(began_at, now()):
                self._world.violate(f"A write by {write.route} failed in calm: {error!r}")
        else:
            self._world.counts[f"writes {write.route}"] += 1
