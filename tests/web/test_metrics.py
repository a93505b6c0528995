"""One scrape tells of all workers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from prometheus_client.parser import text_string_to_metric_families

from app.histogram import Histogram
from app.web.catalogue import METRICS
from app.web.worker_files import open_folder
from tests.clients import get, post
from tests.conftest import StartServer
from tests.items.models import Item
from tests.protocols.raw import INIT, closing, metrics, metrics_become, websocket
from tests.server import ROOT, Server
from tests.workers import Workers, everywhere


@pytest.fixture
def server(transactional_db: None, database_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Three workers with metrics."""
    Item.objects.create(owner=User.objects.create(username="v"))
    settings = {"DEBUG": "true", "OPEN_ACCESS": "true", "METRICS": "true", "TMPDIR": str(tmp_path)}
    with Workers(tmp_path / "log", database_url, **settings) as server:
        yield server
    assert "Traceback" not in server.log, server.log
    assert list(tmp_path.glob("live-metrics-*")) == []


async def test_scrape_tells_the_sum_of_all_workers(server: Workers) -> None:
    async with AsyncExitStack() as stack:
        clients = len(await everywhere(server, stack))
        serving = {pid: server.sockets(pid) for pid in server.workers()}
        # Of whichever worker answers; the others have told of themselves within seconds.
        for _ in range(6):
            await metrics_become(server, connections=clients, subscribers=clients, feed_connected=1)
        numbers = metrics(server)
        assert numbers["workers"] == 3
        assert numbers["execution_seconds_count"] == numbers["executions_total"] > 0
        sent = numbers["messages_total"]
        assert sent >= 2 * clients  # the acknowledgements and the results
        # A worker that dies takes its connections out of the sums, but nothing that it counted.
        victim = max(serving, key=lambda pid: serving[pid])
        lost = serving[victim]
        os.kill(victim, signal.SIGKILL)
        await metrics_become(server, connections=clients - lost, subscribers=clients - lost)
        assert metrics(server)["messages_total"] >= sent


async def test_all_is_described(server: Workers) -> None:
    await metrics_become(server, feed_connected=1)
    names = metrics(server)
    assert {"database_size", "database_requests_total", "tasks", "executions_total"} <= set(names)
    assert {"feed_wakes_total", "feed_imprecise"} <= set(names)
    text = (await get(server, "/metrics")).text
    assert "# TYPE live_messages_total counter" in text
    assert "# HELP live_connections Open WebSockets and event streams." in text


async def test_every_metric_is_told(start_server: StartServer, vendor: str) -> None:
    server = start_server(METRICS="true", GRAPHQL_MAX_RESULT_FIELDS="10")
    await post(server.http, "{ a: items { name } b: items { name } c: items { name } }")
    await post(server.http, "{ __typename }")
    async with websocket(server, is_ready=True) as connection:
        await connection.send(INIT)
        assert (await closing(connection))[0] == 4429
    expected = set(METRICS) - {"replica_serving"}  # as no replica is named
    if vendor == "sqlite":
        expected -= {"feed_rows", "feed_dead_rows"}
    assert (await families(server)).keys() == expected


def test_names_are_as_prometheus_has_them(start_server: StartServer, promtool: str) -> None:
    url = f"http://127.0.0.1:{start_server(METRICS='true').port}/metrics"
    text = httpx.get(url).text
    assert "live_execution_seconds_bucket" in text
    check = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


async def families(server: Server) -> dict[str, float]:
    """What a server tells: each metric with the sum of its samples."""
    text = (await get(server, "/metrics")).text
    return {
        family.name.removeprefix("live_"): sum(sample.value for sample in family.samples)
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.once
def test_bound_of_a_histogram_belongs_to_what_is_below() -> None:
    histogram = Histogram(0.5, 1)
    for value in (0.5, 0.6, 1, 1.1, 7):
        histogram.observe(value)
    assert histogram.counts == [1, 2, 2]
    assert histogram.sum == pytest.approx(10.2)


class Unstarted(Server):
    """A server that is expected not to start."""

    def start(self) -> None:
        """Expect an error."""
        with pytest.raises(RuntimeError, match="did not start"):
            super().start()


def test_folder_that_cannot_be_written_is_explained(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "file" / "folder"
    folder.parent.touch()
    settings = {"DEBUG": "true", "METRICS": "true", "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with Unstarted(tmp_path / "log", database_url, **settings) as server:
        assert f"but {folder} cannot be written" in server.log


def test_what_dead_workers_have_left_is_forgotten_when_nobody_runs(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    files = {pid: tmp_path / f"counter_{pid}.db" for pid in (ended.pid, os.getpid())}
    for file in files.values():
        file.touch()
    tmp_path.chmod(0o700)
    first = open_folder(tmp_path, follows_links=True)
    assert list(tmp_path.glob("*.db")) == [files[os.getpid()]]
    # Another worker of the same server leaves what is counted.
    files[ended.pid].touch()
    second = open_folder(tmp_path, follows_links=True)
    assert files[ended.pid].exists()
    for lock in (first, second):
        os.close(lock)


def test_folder_that_others_may_have_put_there_is_refused(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir(mode=0o700)
    link.symlink_to(folder)
    with pytest.raises(ImproperlyConfigured, match="cannot be written"):
        open_folder(link, follows_links=False)
    os.close(open_folder(link, follows_links=True))
    folder.chmod(0o777)
    with pytest.raises(ImproperlyConfigured, match="others may write there"):
        open_folder(folder, follows_links=False)


async def test_metrics_that_are_off_are_not_there(guarded_server: Server) -> None:
    assert (await get(guarded_server, "/metrics")).status_code == 404


CHURN = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from django.conf import settings
settings.configure()
from app.web import worker_files
from app.web.catalogue import METRICS
from app.web.worker_files import open_folder
from app.web.measurements import Measurement
folder = Path(sys.argv[2])
worker_files.default_folder = lambda: folder
for number in range(150):
    files = worker_files.WorkerFiles("")
    files.write(Measurement(METRICS["documents"], number))
    files.close()
"""


@pytest.mark.once
def test_workers_that_come_and_go_at_once_find_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    command = [sys.executable, "-c", CHURN, str(ROOT), str(folder)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=60)[1] for worker in workers] == [""] * len(workers)
    assert not folder.exists()
