"""One run: set up the stage, play the plan of the seed, read the logs, and report."""

import asyncio
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos import logs
from tests.chaos.catalogue import kinds_for
from tests.chaos.plan import LARGE, SMALL, make_plan
from tests.chaos.play import Play, cancel
from tests.chaos.report import Report
from tests.chaos.rights import create_users
from tests.chaos.stage import set_up
from tests.chaos.world import ViolationError, World, in_thread
from tests.chaos.writers import ROUTES_OF
from tests.protocols import node

SHORT_SECONDS: Final = 60.0
"""A shorter run has fewer clients."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    seed: str
    seconds: float
    database: str
    folder: Path
    database_url: str
    nginx: str
    kinds: tuple[str, ...]


async def run(options: Options) -> Report:
    """Run with these options. Raise ViolationError with the report as its second argument."""
    is_short = options.seconds < SHORT_SECONDS
    size, world = SMALL if is_short else LARGE, World()
    report = Report(options.seed, options.seconds, options.database)
    if size.node_clients:
        await asyncio.to_thread(node.install)
    try:
        async with set_up(
            world, options.folder, options.database_url, options.nginx, workers=2 if is_short else 3
        ) as stage:
            world.root, *world.viewers = await in_thread(create_users, size.viewers)
            kinds, absent = kinds_for(options.database, has_disk=bool(stage.disks))
            report.notes += absent
            kinds = [kind for kind in kinds if kind in options.kinds] if options.kinds else kinds
            routes = ROUTES_OF[options.database]
            plan = make_plan(options.seed, options.seconds, routes, kinds, size)
            playing = Play(stage, plan, report)
            try:
                await _first_of(playing.play(), playing.watch())
            finally:
                await playing.stop()
    except ViolationError as violation:
        raise ViolationError(str(violation), report) from None
    except Exception as error:
        raise ViolationError("".join(traceback.format_exception(error)), report) from error
    finally:
        report.lines = logs.count_lines(options.folder.glob("[abc].log"))
    for log in sorted(options.folder.glob("[abc].log")):
        if complaint := logs.complaint(log.read_text()):
            raise ViolationError(f"{log.name} has\n{complaint}", report)
    return report


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)
