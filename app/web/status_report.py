"""What all workers of a host tell of their sources, added up for whoever looks."""

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..log_context import printable

PATIENCE_SECONDS: Final = 5.0
HEADER: Final = (
    "operation", "sources", "subscribers", "executions", "mean ms", "total s", "messages",
    "last run", "woken by",
)  # fmt: skip


@dataclass(frozen=True)
class Worker:
    """What one worker has told."""

    server: int
    pid: int
    about: dict[str, Any] | None
    """None if it did not answer."""
    sources: list[dict[str, Any]]


def read_all(folder: Path) -> list[Worker]:
    """Ask all workers that have a socket in the folder; what dead ones have left is removed."""
    workers = []
    for path in sorted(folder.glob("*-*")) if folder.is_dir() else ():
        server, _, pid = path.name.partition("-")
        if not (server.isdigit() and pid.isdigit()):
            continue
        try:
            lines = [json.loads(line) for line in _read(path).splitlines()]
        except (ConnectionRefusedError, FileNotFoundError):  # It was killed, or has just ended.
            with suppress(OSError):
                path.unlink()
        except (OSError, ValueError):
            workers.append(Worker(int(server), int(pid), None, []))
        else:
            if lines:
                workers.append(Worker(int(server), int(pid), lines[0], lines[1:]))
    return workers


def _read(path: Path) -> bytes:
    """All that a worker says. Raise OSError if it says nothing for `PATIENCE_SECONDS`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(path))
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@dataclass
class Line:
    """Sources that are told of together."""

    name: str
    woken_by: str
    sources: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    idle_seconds: float | None = None

    def add(self, source: dict[str, Any]) -> None:
        """Count a source."""
        self.sources += 1
        for key in ("subscribers", "executions", "seconds", "messages"):
            self.sums[key] = self.sums.get(key, 0) + source[key]
        idle = source["idle_seconds"]
        if idle is not None and (self.idle_seconds is None or idle < self.idle_seconds):
            self.idle_seconds = idle

    def by(self, order: str) -> float:
        """How much it has of what is asked for."""
        return self.sources if order == "sources" else self.sums[_KEYS.get(order, order)]

    def cells(self) -> tuple[str, ...]:
        """As the table has it."""
        sums = self.sums
        mean = 1000 * sums["seconds"] / sums["executions"] if sums["executions"] else 0
        last = "-" if self.idle_seconds is None else f"{self.idle_seconds:.0f} s ago"
        return (
            self.name, f"{self.sources}", f"{sums['subscribers']:.0f}",
            f"{sums['executions']:.0f}", f"{mean:.1f}", f"{sums['seconds']:.2f}",
            f"{sums['messages']:.0f}", last, self.woken_by,
        )  # fmt: skip


_KEYS = {"cost": "seconds"}


class Report:
    """Of all workers, or of the sources of one operation each by itself."""

    def __init__(self, workers: list[Worker], operation: str | None) -> None:
        self._workers = workers
        self._is_detailed = operation is not None
        self._sources = [
            (worker, source)
            for worker in workers
            for source in worker.sources
            if operation is None or operation in (source["operation"], source["field"])
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything, each source with its server and worker."""
        return {
            "workers": [
                each.about or {"server": each.server, "worker": each.pid, "answers": False}
                for each in self._workers
            ],
            "sources": [
                {"server": worker.server, "worker": worker.pid, **source}
                for worker, source in self._sources
            ],
        }

    def as_text(self, order: str, limit: int) -> str:
        """A table for a person."""
        lines = sorted(self._lines(), key=lambda line: line.by(order), reverse=True)
        cells = [HEADER, *(line.cells() for line in lines[:limit])]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = [
            "  ".join(
                cell.ljust(width) if number in (0, len(HEADER) - 1) else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        more = [f"… and {len(lines) - limit} more: --limit"] if len(lines) > limit else []
        return "\n".join([*self._servers(), "", *table, *more])

    def _servers(self) -> Iterable[str]:
        for server in dict.fromkeys(worker.server for worker in self._workers):
            workers = [each for each in self._workers if each.server == server]
            told = [each.about for each in workers if each.about]
            silent = [str(each.pid) for each in workers if each.about is None]
            about = f"Server {server}"
            if told:
                about += f" ({told[0]['project']}, {told[0]['version']})"
            connections = sum(each["connections"] for each in told)
            sources = sum(len(each.sources) for each in workers)
            counts = {"worker": len(workers), "connection": connections, "source": sources}
            numbers = (f"{count} {noun}{'s'[count == 1 :]}" for noun, count in counts.items())
            yield (
                f"{about}: {', '.join(numbers)}"
                + (f"; no answer from {', '.join(silent)}" if silent else "")
            )

    def _lines(self) -> Iterable[Line]:
        lines: dict[tuple[str, str], Line] = {}
        for _, source in self._sources:
            name = source["operation"] or source["field"]
            if source["operation"] not in ("", source["field"]):
                name += f" ({source['field']})"
            if self._is_detailed:
                name += f" of {source['viewer']}"
            name = printable(name)
            woken_by = "; ".join(dict.fromkeys(map(self._cause, source["woken_by"]))) or "nothing"
            lines.setdefault((name, woken_by), Line(name, woken_by)).add(source)
        return lines.values()

    def _cause(self, woken_by: dict[str, Any]) -> str:
        table, conditions = woken_by["table"], woken_by["conditions"]
        if not conditions:
            return f"every change of {table}"
        if not self._is_detailed:
            return f"{table} by {', '.join(conditions)}"
        described = [f"{column} = {', '.join(values)}" for column, values in conditions.items()]
        return printable(f"{table} where {' and '.join(described)}")
