"""What a server does, all its workers together, in the format that Prometheus reads.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..background import BackgroundTask
from ..changes.feed import Feed
from ..database.lifespan import statistics
from ..graphql.engine import Engine
from ..live import Live
from ..transports.clients import Clients
from .refusals import refused

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SAMPLE_SECONDS = 5.0
POOL_COUNTERS = {"requests", "queued", "errors", "wait_seconds", "opened", "lost"}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number of this process; that of a counter only grows."""

    name: str
    description: str
    value: float
    label: tuple[str, str] | None = None
    """Of which kind it is: the kind's name, and which of them."""
    is_counter: bool = False
    is_sum: bool = True
    """Whether workers add up; otherwise the least of them counts."""


class Metrics:
    """`/metrics`: keep it from the public at the proxy.

    It is off until its route is asked for. An asynchronous context manager: within it, this
    process notes what it does in files that the workers of a server share, so that each of them can
    tell of all.
    """

    def __init__(self, engine: Engine, feed: Feed, live: Live, clients: Clients) -> None:
        self._is_on = False
        self._engine, self._feed, self._live, self._clients = engine, feed, live, clients
        self._files: Files | None = None

    def routes(self) -> list[Route]:
        """Turn metrics on. Return the route to add to a server."""
        self._is_on = True
        return [Route("/metrics", self._respond)]

    async def __aenter__(self) -> Self:
        """Start. Raise ImproperlyConfigured if the files cannot be written."""
        if self._is_on:
            self._files = Files(getattr(settings, FOLDER_VARIABLE, ""))
            self._task = BackgroundTask(self._sample_always(self._files), name="metrics")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._files is not None:
            await self._task.stop()
            self._sample(self._files)  # so that nothing counted is lost
            self._files.close()
            self._files = None

    async def _respond(self, _: Request) -> Response:
        if self._files is None:
            return Response("The server runs with its lifespan off.", 503)
        self._sample(self._files)
        return Response(self._files.text(), media_type="text/plain; version=0.0.4")

    async def _sample_always(self, files: Files) -> None:
        while True:
            for each in self._measure():
                files.write(each)
                await asyncio.sleep(0)  # With many clients, some numbers take milliseconds.
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self, files: Files) -> None:
        for each in self._measure():
            files.write(each)

    def _measure(self) -> Iterator[Measurement]:
        engine, live, clients = self._engine, self._live, self._clients
        sources = live.operations.values()
        subscribers = sum(len(each.subscribers) for each in sources)
        tasks = len(asyncio.all_tasks())
        connected = self._feed.is_connected
        yield Measurement("connections", "Open WebSockets and event streams.", len(clients))
        yield Measurement("subscribers", "Subscriptions of all clients.", subscribers)
        yield Measurement("sources", "Sources: equal subscriptions share one.", len(sources))
        yield Measurement(
            "executions", "Operations and results executed.", engine.executions, is_counter=True
        )
        yield Measurement("messages", "Messages sent to clients.", clients.sent, is_counter=True)
        documents = len(engine.preparation.documents)
        yield Measurement("documents", "Parsed documents in the cache.", documents)
        yield Measurement("tasks", "Tasks on the event loop.", tasks)
        yield Measurement(
            "feed_connected", "Whether all workers hear of changes.", connected, is_sum=False
        )
        yield Measurement(
            "feed_wakes", "Sources woken by changes.", self._feed.wakes, is_counter=True
        )
        every = sum(self._feed.index.waiting_for_every_change().values())
        yield Measurement("feed_imprecise", "Sources woken by every change of a table.", every)
        for pool in statistics():
            values = asdict(pool)
            name = values.pop("name")
            for key, value in values.items():
                description = f"Of the database's connections or threads: {key.replace('_', ' ')}."
                label, is_counter = ("pool", name), key in POOL_COUNTERS
                yield Measurement(f"database_{key}", description, value, label, is_counter)
        for code, count in (engine.budgets.refused + refused).items():
            description, label = "What limits have refused.", ("code", code)
            yield Measurement("refused", description, count, label, is_counter=True)


class Files:
    """The numbers of this process and of the other workers, in one folder."""

    def __init__(self, folder: str) -> None:
        """Create the folder, by default one for the workers of one supervisor.

        Raise ImproperlyConfigured if it cannot be written or belongs to somebody else.
        """
        self.folder = Path(folder) if folder else default_folder()
        self._is_removable = not folder
        self._metrics: dict[str, Any] = {}
        self._counted: dict[tuple[str, tuple[str, str] | None], float] = {}
        self._lock = _open(self.folder)
        self._library = _library(self.folder)

    def write(self, each: Measurement) -> None:
        """Note a number."""
        metric = self._metrics.get(each.name)
        if metric is None:
            metric = self._metrics[each.name] = self._create_metric(each)
        if each.label:
            metric = metric.labels(each.label[1])
        if each.is_counter:
            key = each.name, each.label
            metric.inc(max(0, each.value - self._counted.get(key, 0)))
            self._counted[key] = each.value
        else:
            metric.set(each.value)

    def text(self) -> bytes:
        """The sums over all workers that live, and all that was ever counted."""
        for pid in {int(each.stem.rpartition("_")[2]) for each in self.folder.glob("gauge_live*")}:
            if not _is_running(pid):
                self._library.multiprocess.mark_process_dead(pid, str(self.folder))
        registry = self._library.CollectorRegistry()
        self._library.multiprocess.MultiProcessCollector(registry, str(self.folder))
        text: bytes = self._library.generate_latest(registry)
        return text

    def close(self) -> None:
        """Take this process out of the sums; the last worker removes the folder."""
        self._library.multiprocess.mark_process_dead(os.getpid(), str(self.folder))
        with suppress(BlockingIOError):  # of a worker that still runs, or already
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_removable:
                shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _create_metric(self, each: Measurement) -> Any:
        labels = [each.label[0]] if each.label else []
        name = f"live_{each.name}"
        # No registry: what is told comes from the files.
        if each.is_counter:
            return self._library.Counter(name, each.description, labels, registry=None)
        mode = "livesum" if each.is_sum else "livemin"
        return self._library.Gauge(
            name, each.description, labels, registry=None, multiprocess_mode=mode
        )


def default_folder() -> Path:
    """The folder of this process's supervisor, or of itself if it has none."""
    supervisor = multiprocessing.parent_process()
    pid = os.getpid() if supervisor is None else supervisor.pid
    return Path(tempfile.gettempdir(), f"live-metrics-{pid}")


def _open(folder: Path) -> int:
    """Create the folder, and hold it by a shared lock: return its file descriptor."""
    try:
        while True:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700, parents=True)
            with suppress(FileNotFoundError):  # the last worker of before has just removed it
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_SH)
                if folder.exists() and os.path.samestat(os.fstat(lock), folder.stat()):
                    break
                os.close(lock)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ImproperlyConfigured(
            f"/metrics needs a folder for what the workers count, but {folder} cannot be written: "
            f"{error.strerror}. Name another in {FOLDER_VARIABLE}."
        ) from None
    if os.fstat(lock).st_uid != os.getuid():
        raise ImproperlyConfigured(
            f"/metrics needs a folder of the server's own user, but {folder} belongs to somebody "
            f"else. Name another in {FOLDER_VARIABLE}."
        )
    return lock


def _library(folder: Path) -> Any:
    """Import `prometheus_client`, which reads the folder's name while it is imported."""
    if "prometheus_client" in sys.modules and FOLDER_VARIABLE not in os.environ:
        raise ImproperlyConfigured(
            f"prometheus_client was imported before the server started, so {FOLDER_VARIABLE} must "
            "be set in the environment, or /metrics tells of one worker only."
        )
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        import prometheus_client  # noqa: PLC0415
        import prometheus_client.multiprocess  # noqa: PLC0415
    except ImportError:
        raise ImproperlyConfigured(
            "/metrics needs the package prometheus-client: install it, or turn metrics off."
        ) from None
    return prometheus_client


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
