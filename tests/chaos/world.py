"""What all in the run share: who the viewers are, what may be true, what has been counted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, connections

from tests.chaos.ledger import Excuses, Ledger

P = ParamSpec("P")
R = TypeVar("R")

ROOT = "root"
"""Who may do everything. Nobody moves or changes but this user's items by the admin's forms."""
DATABASE_ERRORS = (DatabaseError, InterfaceError)


class ViolationError(AssertionError):
    """Something does not hold that must."""


class Gate:
    """Lets writers pass, except while it is closed."""

    def __init__(self) -> None:
        self._inside = 0
        self._is_open = True
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait until it is open; who closes it waits until this block has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_open)
            self._inside += 1
        try:
            yield
        finally:
            async with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Within the block, nobody is inside."""
        async with self._changed:
            self._is_open = False
            await self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            async with self._changed:
                self._is_open = True
                self._changed.notify_all()


@dataclass(slots=True)
class Viewer:
    """Somebody who follows items, if they are signed in."""

    name: str
    key: int
    cookie: str = ""
    """Empty while they are signed out."""
    is_active: bool = True

    @property
    def may_connect(self) -> bool:
        """Whether the server has to let them in."""
        return bool(self.cookie) and self.is_active


@dataclass
class World:
    """The state of a run."""

    viewers: list[Viewer] = field(default_factory=list)
    root: Viewer = field(default_factory=lambda: Viewer(ROOT, 0))
    gate: Gate = field(default_factory=Gate)
    ledger: Ledger = field(default_factory=Ledger)
    database_trouble: Excuses = field(default_factory=Excuses)
    """When the database, its feed or a worker could not do their part."""
    trouble: Excuses = field(default_factory=Excuses)
    """When anything was wrong that a request may notice."""
    counts: Counter[str] = field(default_factory=Counter)
    excused_seconds: float = 0.0
    """How long somebody waited for a processor."""
    violation: ViolationError | None = None
    has_violation: asyncio.Event = field(default_factory=asyncio.Event)
    may_leave: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while restless clients may go."""

    def violate(self, what: str) -> None:
        """Note what does not hold, if it is the first; the run ends."""
        if self.violation is None:
            self.violation = ViolationError(what)
            self.has_violation.set()


def now() -> float:
    """Return the time that the ledger counts in."""
    return time.monotonic()


async def in_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Run a function that uses Django's connections, which are closed after it."""

    def run() -> R:
        try:
            return function(*arguments, **named)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)
