"""Let everybody act, inflict one fault after the other, and see that what must hold holds."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos import leftovers, logs
from tests.chaos.catalogue import KINDS, kinds_for
from tests.chaos.clients import EventStreamFollower, Follower, WebSocketFollower
from tests.chaos.node_client import NodeFollower
from tests.chaos.oracle import Inbox, Oracle, wrong
from tests.chaos.plan import LARGE, SMALL, ClientPlan, Plan, PlannedFault, make_plan
from tests.chaos.report import Report
from tests.chaos.rights import Rights, create_users
from tests.chaos.stage import Stage, set_up
from tests.chaos.truth import read_truth
from tests.chaos.world import DATABASE_ERRORS, ViolationError, World, in_thread, now
from tests.chaos.writers import ROUTES_OF, Writer
from tests.protocols import node

RIGHT_AGAIN_SECONDS: Final = 30.0
"""After the end of a fault, every client must be right again within this time."""
GATE_SECONDS: Final = 60.0
LAG_SECONDS: Final = 0.25
"""If this process was kept from running for longer, the time is excused."""
FAULTS_UNTIL_WARM: Final = 3
SHORT_SECONDS: Final = 60.0


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


class Run:
    """One run, on a stage that stands."""

    def __init__(self, options: Options, stage: Stage, plan: Plan, report: Report) -> None:
        self._options = options
        self._stage = stage
        self._plan = plan
        self._report = report
        self._world = stage.world
        self._oracle = Oracle(stage.world, is_precise=options.database == "postgresql")
        self._inboxes: list[Inbox] = []
        self._acting: list[asyncio.Task[None]] = []
        self._following: list[asyncio.Task[None]] = []
        self._began_at = time.monotonic()

    async def play(self) -> None:
        """Play the plan as far as the time allows, then look at what is left."""
        tasks = await leftovers.tasks_of(self._stage)
        rights = Rights(self._world)
        for planned in self._plan.clients:
            follower = self._follower(planned)
            self._inboxes.append(follower.inbox)
            self._following.append(asyncio.create_task(follower.run(), name=planned.name))
        self._following.append(asyncio.create_task(self._watch_lag(), name="lag"))
        await self._settle("the beginning", now())
        first = leftovers.all_held(self._stage)
        writer = Writer(self._world, self._stage.site, self._stage.database_url)
        acts: list[Coroutine[Any, Any, None]] = [rights.run(self._plan.rights)]
        acts += [writer.run(writes) for writes in self._plan.writers]
        self._acting = [asyncio.create_task(act) for act in acts]
        for number, fault in enumerate(self._plan.faults):
            await asyncio.sleep(fault.calm)
            if self._elapsed > self._options.seconds:
                break
            await self._inflict(number, fault)
            if number + 1 == FAULTS_UNTIL_WARM:
                first = leftovers.all_held(self._stage)
        await self._end(tasks, first)

    async def _inflict(self, number: int, fault: PlannedFault) -> None:
        kind, world = KINDS[fault.kind], self._world
        at = now()
        excused = [world.trouble.begin(at)]
        if kind.delays_revocation:
            excused.append(world.database_trouble.begin(at))
        await kind.inflict(self._stage, fault)
        healed_at = now()
        seconds = await self._settle(fault.kind, healed_at)
        for period in excused:
            period.until = now()
        self._report.right_again[fault.kind].append(seconds)
        print(
            f"{self._elapsed:6.0f} s  {number + 1:3}. {fault.kind} for {healed_at - at:.1f} s:"
            f" all right again after {seconds:.1f} s",
            flush=True,
        )

    async def _settle(self, after: str, since: float) -> float:
        """Let nobody write until every client is right; return how long it took since then."""
        world = self._world
        world.may_leave.clear()
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(GATE_SECONDS):
                await stack.enter_async_context(world.gate.closed())
            found = ["The database does not answer."]
            while found:
                if now() - since > RIGHT_AGAIN_SECONDS:
                    raise ViolationError(
                        f"{RIGHT_AGAIN_SECONDS:.0f} s after {after} had ended, {len(found)} things "
                        f"were wrong; the first: {found[0]}"
                    )
                await asyncio.sleep(0.1)
                with suppress(*DATABASE_ERRORS):
                    found = wrong(self._inboxes, await in_thread(read_truth))
            seconds = now() - since
        world.may_leave.set()
        return seconds

    async def _end(self, tasks: dict[int, int], first: dict[int, leftovers.Held]) -> None:
        await self._settle("the last fault", now())
        await _cancel(self._acting)
        await self._settle("the last write", now())
        await _cancel(self._following)
        left, told = await leftovers.left_behind(self._stage, tasks, first)
        self._report.left_behind += told
        if left:
            raise ViolationError("\n".join(left))

    async def _watch_lag(self) -> None:
        """Excuse the times in which this process did not run, so that messages had to wait."""
        last = now()
        while True:
            await asyncio.sleep(0.05)
            if now() - last > LAG_SECONDS:
                for excuses in (self._world.trouble, self._world.database_trouble):
                    excuses.add(last, now())
                self._world.counts["pauses of the run's own process"] += 1
            last = now()

    def _follower(self, planned: ClientPlan) -> Follower:
        inbox = Inbox(planned, self._world.viewers[planned.viewer])
        kind = {"sse": EventStreamFollower, "node": NodeFollower}.get(
            planned.transport, WebSocketFollower
        )
        way = self._stage.site.way(is_proxied=planned.is_proxied)
        return kind(inbox, self._oracle, way, self._options.seed)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began_at

    async def stop(self) -> None:
        """Stop whoever still acts, and note the figures."""
        await _cancel([*self._acting, *self._following])
        self._report.counts = self._world.counts
        self._report.latest_seconds = self._oracle.latest_seconds

    async def watch(self) -> None:
        """Raise the first violation, or what an actor has raised."""
        while True:
            if self._world.violation is not None:
                raise self._world.violation
            for task in (*self._acting, *self._following):
                if task.done() and not task.cancelled() and (error := task.exception()):
                    raise error
            await asyncio.sleep(0.05)


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
            playing = Run(options, stage, plan, report)
            try:
                await _first_of(playing.play(), playing.watch())
            finally:
                await playing.stop()
    except ViolationError as violation:
        raise ViolationError(str(violation), report) from None
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
        await _cancel(tasks)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
