"""The database, the servers and nginx of a run, all of them its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.core.management import call_command

from tests.chaos.cluster import Cluster
from tests.chaos.forwarder import Forwarder
from tests.chaos.postgresql import DATABASE, USER, folder_for
from tests.chaos.site import SETTINGS, Site, upstreams
from tests.chaos.surroundings import Clock, Disk, small_disk
from tests.chaos.world import World, in_thread
from tests.server import Server
from tests.workers import Workers


@dataclass
class Stage:
    """All that faults are inflicted on."""

    database_url: str
    """Of this process and of writers that are no part of the site."""
    server_clock: Clock
    database_clock: Clock
    disks: tuple[Disk, ...]
    cluster: Cluster | None
    """None on SQLite."""
    database: Forwarder
    """Between the single servers, all writers and PostgreSQL."""
    feed: Forwarder
    """Between the feeds of the single servers and PostgreSQL."""
    site: Site
    world: World

    @property
    def patient_url(self) -> str:
        """The same for programs that do not have the settings: they notice silence, too."""
        return self.database_url + ("?tcp_user_timeout=15000" if self.cluster is not None else "")

    @property
    def postgresql(self) -> Cluster:
        """The cluster. Raises RuntimeError on SQLite."""
        if self.cluster is None:
            raise RuntimeError("This fault is about PostgreSQL, but the run is on SQLite.")
        return self.cluster


@asynccontextmanager
async def set_up(
    world: World, folder: Path, database_url: str, nginx: str, workers: int
) -> AsyncIterator[Stage]:
    """A running site on the database that this process's Django is configured for."""
    server_clock, database_clock = Clock(folder / "server.clock"), Clock(folder / "database.clock")
    async with AsyncExitStack() as stack:
        cluster, database, feed = None, Forwarder(0), Forwarder(0)
        if database_url.startswith("postgres"):
            places = [folder / "one", folder / "two"]
            disks = [stack.enter_context(small_disk(place)) for place in places]
            data = [folder_for(place, "data") for place in places]
            cluster = Cluster(data, database_clock.environment)
            stack.callback(cluster.stop)
            await asyncio.to_thread(cluster.start)
            database = Forwarder(cluster.primary.port, urlsplit(database_url).port or 0)
            feed = Forwarder(cluster.primary.port)
            for forwarder in (database, feed):
                await stack.enter_async_context(forwarder)
        else:
            file = Path(database_url.removeprefix("sqlite:///"))
            disks = [stack.enter_context(small_disk(file.parent))]
        await in_thread(call_command, "migrate", verbosity=0)
        settings, url = {**SETTINGS, **server_clock.environment}, database_url
        if cluster is not None:
            settings["DATABASE_LISTEN_URL"] = f"postgres://{USER}@127.0.0.1:{feed.port}/{DATABASE}"
        singles = (
            Server(folder / "b.log", url, **settings),
            Server(folder / "c.log", url, **settings),
        )
        if cluster is not None:
            # The other way to follow a failover: both addresses, of which one takes writes.
            url, settings["DATABASE_LISTEN_URL"] = cluster.either, ""
        several = Workers(folder / "a.log", url, **settings)
        # The default of 5 s is too short to start a worker on a machine that is busy: the
        # supervisor would give up restarting them.
        patience = ("--timeout-worker-healthcheck", "20")
        several.arguments = ("--workers", str(workers), *patience)
        proxy = stack.enter_context(upstreams(nginx, _made(folder / "nginx"), singles))
        site = Site(several, singles, proxy)
        for server in site.servers:
            stack.push_async_callback(asyncio.to_thread, server.stop)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in site.servers))
        present = tuple(disk for disk in disks if disk is not None)
        yield Stage(
            database_url,
            server_clock,
            database_clock,
            present,
            cluster,
            database,
            feed,
            site,
            world,
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
