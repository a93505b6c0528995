"""A database, sources and members for `app.live`, all of them fakes that a test commands."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator

from app.live import Failures, SharedOperation


class TransientError(Exception):
    """Passes by itself."""


class FatalError(Exception):
    """Does not."""


FAILURES = Failures(lambda error: isinstance(error, TransientError), repr)


class Member:
    """Writes down what it is told, and insists on the order that is promised."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.operation: SharedOperation | None = None
        self.results: list[str] = []
        self.end = ""
        self.fault = ""

    @property
    def is_active(self) -> bool:
        """Whether it may still be told something."""
        return not self.end

    def next(self, result: bytes) -> None:
        """A result: never after the end, and never the same twice."""
        text = result.decode()
        if self.results[-1:] == [text]:
            self.fault = f"{text} came twice"
        self._check(text)
        self.results.append(text)

    def error(self, errors: str) -> None:
        """The end, by an error."""
        self._check(errors)
        self.end = errors

    def complete(self) -> None:
        """The end of the source."""
        self._check("complete")
        self.end = "complete"

    def _check(self, told: str) -> None:
        # Raising here would only end the operation.
        if not self.is_active:
            self.fault = f"{told} came after {self.end}"

    def leave(self) -> None:
        """Leave the operation."""
        assert self.operation is not None
        self.end = "left"
        self.operation.leave(self)


class World:
    """What is stored under each key, and the sources that follow it."""

    def __init__(self) -> None:
        self.stored: Counter[str] = Counter()
        self.error: dict[str, BaseException] = {}
        self.ended: set[str] = set()
        self.queries: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.connections = 0
        self._changed: dict[asyncio.Event, str] = {}

    def change(self, key: str) -> None:
        """Commit a new value."""
        self.stored[key] += 1
        self.touch(key)

    def touch(self, key: str) -> None:
        """Commit something that alters no result."""
        for event, watched in self._changed.items():
            if watched == key:
                event.set()

    def fail(self, key: str, error: BaseException | None) -> None:
        """Let queries raise `error`; none, if None."""
        self.error.pop(key, None)
        if error is not None:
            self.error[key] = error
        self.touch(key)

    async def source(self, key: str) -> AsyncGenerator[str, None]:
        """What a subscription's source does: the state now, and after each change."""
        self.running[key] += 1
        changed = asyncio.Event()
        changed.set()
        self._changed[changed] = key
        try:
            while key not in self.ended:
                await changed.wait()
                changed.clear()
                yield await self._query(key)
        finally:
            del self._changed[changed]
            try:
                await asyncio.sleep(0)  # to give something back takes a while
            finally:
                self.running[key] -= 1

    async def _query(self, key: str) -> str:
        self.queries[key] += 1
        self.connections += 1
        try:
            value = self.stored[key]
            await asyncio.sleep(0)
            if (error := self.error.get(key)) is not None:
                raise error
            await asyncio.sleep(0)
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                self.connections -= 1
        return f"{key} {value}"
