"""The numbers of all workers of one server, which they share by files in a folder.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..histogram import Histogram
from .catalogue import Kind, Metric
from .measurements import Measurement

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MODES = {Kind.SUM: "livesum", Kind.LEAST: "livemin", Kind.MOST: "livemax"}


class WorkerFiles:
    """The numbers of this process and of the other workers, in one folder."""

    def __init__(self, folder: str) -> None:
        """Create the folder, by default one for the workers of one supervisor.

        Where it is not named, the environment may have named it for prometheus_client.
        Raise ImproperlyConfigured if it cannot be written or belongs to somebody else.
        """
        folder = folder or os.environ.get(FOLDER_VARIABLE, "")
        self.folder = Path(folder) if folder else default_folder()
        # A server before this one, in the same process, has named it in the environment.
        self._is_removable = self.folder == default_folder()
        self._metrics: dict[str, Any] = {}
        self._counted: dict[tuple[str, tuple[str, ...]], float] = {}
        self._added: dict[tuple[str, tuple[str, ...]], tuple[list[int], float]] = {}
        self._lock = open_folder(self.folder, follows_links=not self._is_removable)
        self._library = _library(self.folder)

    def write(self, each: Measurement) -> None:
        """Note a number."""
        metric = self._metrics.get(each.metric.name)
        if metric is None:
            metric = self._metrics[each.metric.name] = self._create(each)
        if each.labels:
            metric = metric.labels(*each.labels)
        key = each.metric.name, each.labels
        if isinstance(each.value, Histogram):
            counts, total = self._added.get(key, ([0] * len(each.value.counts), 0.0))
            # What was counted elsewhere can be added in no other way.
            for bucket, new, old in zip(metric._buckets, each.value.counts, counts, strict=True):
                if new != old:
                    bucket.inc(new - old)
            if each.value.sum != total:
                metric._sum.inc(each.value.sum - total)
            self._added[key] = list(each.value.counts), each.value.sum
        elif each.metric.kind is Kind.COUNTER:
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

    def _create(self, each: Measurement) -> Any:
        metric: Metric = each.metric
        # No registry: what is told comes from the files.
        options: dict[str, Any] = {"registry": None, "labelnames": metric.labels}
        if isinstance(each.value, Histogram):
            bounds = (*each.value.bounds, float("inf"))
            return self._library.Histogram(
                metric.name, metric.description, buckets=bounds, **options
            )
        if metric.kind is Kind.COUNTER:
            return self._library.Counter(metric.name, metric.description, **options)
        options["multiprocess_mode"] = MODES[metric.kind]
        return self._library.Gauge(metric.name, metric.description, **options)


def default_folder() -> Path:
    """The folder of this process's supervisor, or of itself if it has none."""
    return Path(tempfile.gettempdir(), f"live-metrics-{supervisor_pid()}")


def supervisor_pid() -> int:
    """The process whose workers this one is among; this one, if it has none."""
    supervisor = multiprocessing.parent_process()
    return os.getpid() if supervisor is None or supervisor.pid is None else supervisor.pid


def open_folder(folder: Path, *, follows_links: bool) -> int:
    """Create the folder, and hold it by a shared lock: return its file descriptor.

    Links are not followed among temporary files, where anybody may have put them.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follows_links else os.O_NOFOLLOW)
    try:
        while True:
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700, parents=True)
            with suppress(FileNotFoundError):  # the last worker of before has just removed it
                lock = os.open(folder, flags)
                _forget_the_dead(folder, lock)
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
    found = os.fstat(lock)
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ImproperlyConfigured(
            f"/metrics needs a folder of the server's own user, but {folder} belongs to somebody "
            f"else, or others may write there. Name another in {FOLDER_VARIABLE}."
        )
    return lock


def _forget_the_dead(folder: Path, lock: int) -> None:
    """Remove what processes of before have left, if no server is running: reading it takes time."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in folder.glob("*_*.db"):
            pid = file.stem.rpartition("_")[2]
            if pid.isdigit() and not _is_running(int(pid)):
                file.unlink(missing_ok=True)


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
