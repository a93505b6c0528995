"""Faults of the servers, of nginx, of clients and of clocks."""

import asyncio
import os
import signal
from typing import Final

from tests.chaos.plan import PlannedFault
from tests.chaos.stage import Stage

RESPAWN_SECONDS: Final = 30
STEPS: Final = (-3600, -90, -5, 5, 90, 3600)
"""Seconds that clocks are set forward or back."""


async def kill_worker(stage: Stage, fault: PlannedFault) -> None:
    """Kill one of several workers; the supervisor starts another."""
    workers = stage.site.workers
    count, victim = len(workers.workers()), _a_worker(stage, fault)
    os.kill(victim, signal.SIGKILL)
    await _respawned(stage, count, {victim})


async def freeze_worker(stage: Stage, fault: PlannedFault) -> None:
    """Stop one of several workers for a while; the supervisor may lose its patience."""
    workers = stage.site.workers
    count, victim = len(workers.workers()), _a_worker(stage, fault)
    os.kill(victim, signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    if victim in workers.workers():
        os.kill(victim, signal.SIGCONT)
    await _respawned(stage, count, set())


async def restart_workers(stage: Stage, fault: PlannedFault) -> None:
    """Restart the workers one after the other, as at a deployment."""
    before = stage.site.workers.workers()
    os.kill(stage.site.workers.pid, signal.SIGHUP)
    await _respawned(stage, len(before), before)


async def restart_servers(stage: Stage, fault: PlannedFault) -> None:
    """Restart the servers behind nginx one after the other."""
    for single in stage.site.singles:
        await asyncio.to_thread(single.stop)
        await asyncio.sleep(fault.seconds / 4)
        await asyncio.to_thread(single.start)


async def freeze_server(stage: Stage, fault: PlannedFault) -> None:
    """Stop one of the servers behind nginx for a while."""
    victim = stage.site.singles[fault.number % 2].pid
    os.kill(victim, signal.SIGSTOP)
    await asyncio.sleep(fault.seconds)
    os.kill(victim, signal.SIGCONT)


async def reload_nginx(stage: Stage, fault: PlannedFault) -> None:
    """Let new workers of nginx take over."""
    await asyncio.to_thread(stage.site.proxy.reload)


async def kill_nginx(stage: Stage, fault: PlannedFault) -> None:
    """Kill nginx, and start it again later."""
    stage.site.proxy.kill()
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(stage.site.proxy.start)


async def step_server_clock(stage: Stage, fault: PlannedFault) -> None:
    """Set the clock of all servers, and later set it right."""
    stage.server_clock.step(STEPS[fault.number % len(STEPS)])
    await asyncio.sleep(fault.seconds)
    stage.server_clock.step(0)


async def step_database_clock(stage: Stage, fault: PlannedFault) -> None:
    """Set the clock of PostgreSQL, and later set it right."""
    stage.database_clock.step(STEPS[fault.number % len(STEPS)])
    await asyncio.sleep(fault.seconds)
    stage.database_clock.step(0)


def _a_worker(stage: Stage, fault: PlannedFault) -> int:
    workers = sorted(stage.site.workers.workers())
    return workers[fault.number % len(workers)]


async def _respawned(stage: Stage, count: int, without: set[int]) -> None:
    """Wait until so many workers run, none of those."""
    async with asyncio.timeout(RESPAWN_SECONDS):
        while len(stage.site.workers.workers() - without) < count:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
