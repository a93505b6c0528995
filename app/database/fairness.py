"""Let a bounded number of tasks work at a time, those of each consumer in turn."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final, NamedTuple


class Consumer(NamedTuple):
    """Whom work is done for."""

    group: str
    """Groups take turns, too, so that very many of one group are but one group to the others."""
    key: Hashable = None
    """None for the server itself, which may have all."""


SYSTEM: Final = Consumer("system")
CONSUMER: ContextVar[Consumer] = ContextVar("CONSUMER", default=SYSTEM)
"""Whom this task works for; by default, for the server itself."""


class FairSemaphore:
    """`size` slots of one event loop.

    Those who wait are let in by turns: groups, consumers within a group, and tasks of a consumer
    in the order of asking. A consumer holds half of the slots at most, so that whoever comes next
    need not wait until the first one's work is done; the server itself may hold all.
    """

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self._free = size
        self.share: Final = max(1, size // 2)
        self._held: dict[Consumer, int] = {}
        self._groups: OrderedDict[str, OrderedDict[Consumer, deque[asyncio.Future[None]]]] = (
            OrderedDict()
        )

    def is_open(self) -> bool:
        """Whether this task, if it asks now, need not wait."""
        return self._may_enter(CONSUMER.get())

    def is_empty(self) -> bool:
        """Whether no slot is free for anybody."""
        return not self._free

    async def acquire(self, kind: str = "") -> Consumer:
        """Take a slot: who holds it, as `release` wants to know.

        Different kinds of work are different groups.
        """
        consumer = CONSUMER.get()
        if kind:
            consumer = Consumer(f"{consumer.group}: {kind}", consumer.key)
        if self._may_enter(consumer):
            self._enter(consumer)
            return consumer
        waiting = self._groups.setdefault(consumer.group, OrderedDict())
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = waiting.setdefault(consumer, deque())
        queue.append(future)
        try:
            await future
        except BaseException:  # cancelled, or the coroutine was closed
            with suppress(ValueError):  # somebody has looked at it since
                queue.remove(future)
            self._forget(consumer)
            if future.done() and not future.cancelled():
                self.release(consumer)
            raise
        return consumer

    def release(self, consumer: Consumer) -> None:
        """Give back a slot that `consumer` holds, and let in who is next."""
        self._free += 1
        self._held[consumer] -= 1
        if not self._held[consumer]:
            del self._held[consumer]
        while self._free and (found := self._next()) is not None:
            self._enter(found[0])
            found[1].set_result(None)

    def _may_enter(self, consumer: Consumer) -> bool:
        # Whoever waits while a slot is free has all that they may hold.
        share = self.size if consumer.key is None else self.share
        return self._free > 0 and self._held.get(consumer, 0) < share

    def _enter(self, consumer: Consumer) -> None:
        self._free -= 1
        self._held[consumer] = self._held.get(consumer, 0) + 1

    def _next(self) -> tuple[Consumer, asyncio.Future[None]] | None:
        for group, waiting in self._groups.items():
            for consumer, queue in waiting.items():
                while queue and self._may_enter(consumer):
                    future = queue.popleft()
                    if not future.done():  # else it was cancelled a moment ago
                        self._groups.move_to_end(group)
                        waiting.move_to_end(consumer)
                        self._forget(consumer)
                        return consumer, future
        return None

    def _forget(self, consumer: Consumer) -> None:
        """Drop what no longer holds anybody who waits."""
        waiting = self._groups.get(consumer.group, OrderedDict())
        if not waiting.get(consumer, True):
            del waiting[consumer]
            if not waiting:
                del self._groups[consumer.group]
