"""Let everybody act, inflict one fault after the other, and see that what must hold holds."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from tests.chaos import leftovers
from tests.chaos.catalogue import KINDS
from tests.chaos.clients import EventStreamFollower, Follower, WebSocketFollower
from tests.chaos.load import Load
from tests.chaos.node_client import NodeFollower
from tests.chaos.oracle import Inbox, Oracle, wrong
from tests.chaos.plan import ClientPlan, Plan, PlannedFault
from tests.chaos.report import Report
from tests.chaos.rights import Rights
from tests.chaos.routes import Target
from tests.chaos.stage import Stage
from tests.chaos.truth import read_truth
from tests.chaos.world import DATABASE_ERRORS, ViolationError, in_thread, now
from tests.chaos.writers import Writer

RIGHT_AGAIN_SECONDS: Final = 30.0
"""After the end of a fault, every client must be right again within this time."""
LONG_SECONDS: Final = 5.0
GATE_SECONDS: Final = 60.0
FAULTS_UNTIL_WARM: Final = 3


class Play:
    """Plays a plan on a stage that stands."""

    def __init__(self, stage: Stage, plan: Plan, report: Report) -> None:
        self._stage = stage
        self._plan = plan
        self._report = report
        self._world = stage.world
        self._oracle = Oracle(stage.world, is_precise=stage.cluster is not None)
        self._inboxes: list[Inbox] = []
        self._acting: list[asyncio.Task[None]] = []
        self._following: list[asyncio.Task[None]] = []
        self._last_wrong = ""
        self._began_at = time.monotonic()

    async def play(self) -> None:
        """Play the plan as far as the time allows, then look at what is left."""
        tasks = await leftovers.tasks_of(self._stage)
        idle = leftovers.all_held(self._stage)
        rights = Rights(self._world)
        for planned in self._plan.clients:
            follower = self._follower(planned)
            self._inboxes.append(follower.inbox)
            self._following.append(asyncio.create_task(follower.run(), name=planned.name))
        load = Load(self._world, self._stage.site.processes)
        self._following.append(asyncio.create_task(load.watch(), name="load"))
        await self._settle("the beginning", now())
        first = leftovers.all_held(self._stage)
        writer = Writer(Target(self._world, self._stage.site, self._stage.patient_url))
        acts: list[Coroutine[Any, Any, None]] = [rights.run(self._plan.rights)]
        acts += [writer.run(writes) for writes in self._plan.writers]
        self._acting = [asyncio.create_task(act) for act in acts]
        for number, fault in enumerate(self._plan.faults):
            await asyncio.sleep(fault.calm)
            if self._elapsed > self._report.seconds:
                break
            await self._inflict(number, fault)
            if number + 1 == FAULTS_UNTIL_WARM:
                first = leftovers.all_held(self._stage)
        await self._end(tasks, idle, first)

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
            f" all right again after {seconds:.1f} s{self._why(seconds)}",
            flush=True,
        )

    def _why(self, seconds: float) -> str:
        """Tell what was wrong last, if it was so for long."""
        return f"\n{self._last_wrong}" if seconds > LONG_SECONDS else ""

    async def _settle(self, after: str, since: float) -> float:
        """Let nobody write until every client is right; return how long that took.

        It counts from then on, or from the end of the last write if that was later.
        """
        world = self._world
        world.may_leave.clear()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(GATE_SECONDS):
                    await stack.enter_async_context(world.gate.closed())
            except TimeoutError:
                raise ViolationError(f"A write takes longer than {GATE_SECONDS:.0f} s") from None
            written_at = now()
            found = ["The database does not answer."]
            while found:
                self._last_wrong = found[-1]
                if now() - since > RIGHT_AGAIN_SECONDS:
                    raise ViolationError(
                        f"{RIGHT_AGAIN_SECONDS:.0f} s after {after} had ended, {len(found)} things "
                        f"were wrong; the first: {found[0]}"
                    )
                await asyncio.sleep(0.1)
                with suppress(*DATABASE_ERRORS):
                    found = wrong(self._inboxes, await in_thread(read_truth))
            seconds = now() - max(since, written_at)
        world.may_leave.set()
        return seconds

    async def _end(
        self,
        tasks: dict[int, int],
        idle: dict[int, leftovers.Held],
        first: dict[int, leftovers.Held],
    ) -> None:
        await self._settle("the last fault", now())
        await cancel(self._acting)
        await self._settle("the last write", now())
        await cancel(self._following)
        left, told = await leftovers.left_behind(self._stage, tasks, idle, first)
        self._report.left_behind += told
        if left:
            raise ViolationError("\n".join(left))

    def _follower(self, planned: ClientPlan) -> Follower:
        inbox = Inbox(planned, self._world.viewers[planned.viewer])
        kind = {"sse": EventStreamFollower, "node": NodeFollower}.get(
            planned.transport, WebSocketFollower
        )
        way = self._stage.site.way(is_proxied=planned.is_proxied)
        return kind(inbox, self._oracle, way, self._report.seed)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began_at

    async def stop(self) -> None:
        """Stop whoever still acts, and note the figures."""
        await cancel([*self._acting, *self._following])
        self._report.counts = self._world.counts
        self._report.excused_seconds = self._world.excused_seconds
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


async def cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End tasks, whatever becomes of them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
