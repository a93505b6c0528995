"""Tell `manage.py live`, on the same host, what is subscribed in this process.

Each worker listens on a Unix socket in a folder that nobody else may enter, since it names
operations and viewers. Nothing is gathered before somebody asks.
"""

import asyncio
import json
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

from django.conf import settings

from .. import __version__
from ..activity import Activity
from ..graphql.engine import Engine
from ..live import Live, SharedOperation
from ..transports.clients import Clients
from ..viewer import Viewer
from .worker_files import supervisor_pid

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 10.0
SOURCES_AT_ONCE: Final = 20
"""So many are told between two looks at everything else."""
MAX_VALUES: Final = 5
MAX_CHARACTERS: Final = 100


class UnsafeFolderError(OSError):
    """Others may enter the folder."""


def status_folder() -> Path:
    """Where the sockets of all servers of this user are, by the setting LIVE_STATUS_DIR."""
    named = getattr(settings, "LIVE_STATUS_DIR", "")
    return Path(named or Path(tempfile.gettempdir(), f"live-status-{os.getuid()}"))


class Status:
    """This process's socket. An asynchronous context manager, within which it answers.

    A server whose folder cannot be used runs without, and says so in the log.
    """

    def __init__(self, engine: Engine, live: Live, clients: Clients) -> None:
        self._engine, self._live, self._clients = engine, live, clients
        self._began = monotonic()
        self._path: Path | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        path = status_folder() / f"{supervisor_pid()}-{os.getpid()}"
        try:
            create_private(path.parent)
            # Who finds a socket on which nobody listens yet would take it for a dead one.
            unready = path.with_suffix(".new")
            unready.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(unready))
            self._server = await asyncio.start_unix_server(self._answer, sock=listener)
            unready.rename(path)
        except OSError as error:
            reason = error.strerror or error
            logger.warning("manage.py live will not see this process: %s: %s", path, reason)
        else:
            self._path = path
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._server.close()
            for task in self._answers:
                task.cancel()
            await asyncio.gather(*self._answers, return_exceptions=True)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Only a task can answer.")
        self._answers.add(task)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for number, line in enumerate(self._lines()):
                    writer.write(json.dumps(line).encode() + b"\n")
                    if number % SOURCES_AT_ONCE == 0:
                        await writer.drain()
                        await asyncio.sleep(0)
        except (OSError, TimeoutError):
            writer.transport.abort()  # Who asked has gone, or does not read.
        finally:
            self._answers.discard(task)
            writer.close()

    def _lines(self) -> Iterator[dict[str, Any]]:
        """What there is to tell: the process first, then each source."""
        now = monotonic()
        yield {
            "server": supervisor_pid(),
            "worker": os.getpid(),
            "project": getattr(settings, "SETTINGS_MODULE", ""),
            "version": __version__,
            "seconds": now - self._began,
            "connections": len(self._clients),
            "executions": self._engine.executions,
        }
        for operation in list(self._live.operations.values()):
            if operation.activity is not None:
                yield described(operation, operation.activity, now)


def described(operation: SharedOperation, activity: Activity, now: float) -> dict[str, Any]:
    """One source, for whoever looks."""
    waits_for = [each for found in activity.waits_for.values() for each in found]
    return {
        "operation": activity.operation,
        "field": activity.field,
        "viewer": _viewer(activity.viewer),
        "woken_by": [
            {
                "table": each.table,
                "conditions": {
                    column: sorted(map(str, values))[:MAX_VALUES]
                    for column, values in each.conditions.items()
                },
            }
            for each in waits_for
        ],
        "subscribers": len(operation.subscribers),
        "executions": activity.executions,
        "seconds": activity.seconds,
        "results": operation.results,
        "messages": operation.messages,
        "idle_seconds": None if activity.ran_at is None else now - activity.ran_at,
    }


def create_private(folder: Path) -> None:
    """Create a folder that only this user may enter. Raise OSError if it is, or may be, others'."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UnsafeFolderError(f"{folder} must be a folder that its owner alone may enter")


def _viewer(viewer: object) -> str:
    if isinstance(viewer, Viewer):
        return "anybody" if viewer.user_id is None else f"user {viewer.user_id}"
    return str(viewer)[:MAX_CHARACTERS]
