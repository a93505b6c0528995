"""What one source does, and what woke it: for those who look at a running server."""

from collections.abc import Hashable, Sequence
from contextvars import ContextVar
from itertools import count
from time import monotonic
from typing import Any, Final

from .tracing import MAX_LINKS, ExecutionSpan, Link, is_on

EVERYTHING: Final[frozenset[str]] = frozenset()
"""The tables of a wake-up that has no particular one."""

_numbers = count(1)


class Activity:
    """One source: what it was asked, what it waits for, and what it has cost."""

    __slots__ = (
        "_span",
        "begun_at",
        "executions",
        "field",
        "links",
        "number",
        "operation",
        "ran_at",
        "seconds",
        "tables",
        "viewer",
        "waits_for",
        "woken_at",
    )

    def __init__(self, operation: str, field: str, viewer: Hashable) -> None:
        self.number: Final = next(_numbers)
        """Which of this process's sources it is."""
        self.operation: Final = operation
        """The name that whoever asked first has given; "" if none."""
        self.field: Final = field
        self.viewer: Final = viewer
        self.waits_for: dict[int, Sequence[Any]] = {}
        """The dependencies of each of its watches, by the watch's identity."""
        self.links: list[Link] = []
        """The spans of the operations that have joined last."""
        self.executions = 0
        self.seconds = 0.0
        """Of all its runs: its queries, executing, encoding, and waiting for the database."""
        self.ran_at: float | None = None
        """When its last result was ready, by `monotonic`."""
        self.woken_at: float | None = None
        """When the change came that it now looks at; None at the first run."""
        self.begun_at: float | None = None
        """When the run began; None if the source has not said so."""
        self.tables = EVERYTHING
        """The tables whose changes woke it."""
        self._span: ExecutionSpan | None = None

    def link(self, link: Link | None) -> None:
        """Let the spans of its runs link to an operation's."""
        if link is not None:
            self.links.append(link)
            del self.links[:-MAX_LINKS]

    def begin(self, woken_at: float | None, tables: frozenset[str]) -> None:
        """A run begins, woken by changes of these tables."""
        self.close()
        self.woken_at, self.tables, self.begun_at = woken_at, tables, monotonic()
        if is_on():
            # Others have changed at the same time.
            watched = {each.table for found in self.waits_for.values() for each in found}
            causes = tables & watched or tables
            self._span = ExecutionSpan(self.operation, self.field, self.links, causes, woken_at)

    def close(self) -> None:
        """No result comes of the run any more, if one has begun."""
        if self._span is not None:
            self._span.end()
            self._span = None

    def end(self, executing_since: float) -> float | None:
        """A run has led to a result. Return the seconds since what woke it; None if nothing has."""
        self.close()
        self.ran_at = now = monotonic()
        self.executions += 1
        self.seconds += now - (self.begun_at or executing_since)
        woken_at, self.woken_at, self.begun_at = self.woken_at, None, None
        return None if woken_at is None else now - woken_at


ACTIVITY: ContextVar[Activity | None] = ContextVar("ACTIVITY", default=None)
"""The source that runs in this context."""
