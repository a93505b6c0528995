"""What a server does, all its workers together, in the format that Prometheus reads."""

import asyncio
from time import monotonic
from typing import Final, Self

from django.conf import settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..background import BackgroundTask
from ..changes.feed import Feed
from ..graphql.engine import Engine
from ..histogram import Histogram
from ..live import Live
from ..transports.clients import Clients
from ..transports.revocation import Revocation
from .measurements import Measured, measure
from .worker_files import FOLDER_VARIABLE, WorkerFiles

SAMPLE_SECONDS: Final = 5.0
TICK_SECONDS: Final = 0.1
"""Between two looks how late the event loop is."""


class Metrics:
    """`/metrics`: keep it from the public at the proxy.

    It is off until its route is asked for. An asynchronous context manager: within it, this
    process notes what it does in files that the workers of a server share, so that each of them can
    tell of all.
    """

    def __init__(
        self, engine: Engine, feed: Feed, live: Live, clients: Clients, revocation: Revocation
    ) -> None:
        self._is_on = False
        self._feed = feed
        self._loop_lag = Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
        self._these = Measured(engine, feed, live, clients, revocation, self._loop_lag)
        self._files: WorkerFiles | None = None

    def routes(self) -> list[Route]:
        """Turn metrics on. Return the route to add to a server."""
        self._is_on = True
        return [Route("/metrics", self._respond)]

    async def __aenter__(self) -> Self:
        """Start. Raise ImproperlyConfigured if the files cannot be written."""
        if self._is_on:
            self._files = WorkerFiles(getattr(settings, FOLDER_VARIABLE, ""))
            self._feed.backend.hearing.is_measured = True
            self._tasks = (
                BackgroundTask(self._sample_always(self._files), name="metrics"),
                BackgroundTask(self._tick(), name="event loop lag"),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._files is not None:
            files, self._files = self._files, None
            try:
                for task in self._tasks:
                    await task.stop()
                self._sample(files)  # so that nothing counted is lost
            finally:
                files.close()

    async def _respond(self, _: Request) -> Response:
        if self._files is None:
            return Response("The server runs with its lifespan off.", 503)
        self._sample(self._files)
        return Response(self._files.text(), media_type="text/plain; version=0.0.4")

    async def _sample_always(self, files: WorkerFiles) -> None:
        while True:
            for each in measure(self._these):
                files.write(each)
                await asyncio.sleep(0)  # With many clients, some numbers take milliseconds.
            await asyncio.sleep(SAMPLE_SECONDS)

    def _sample(self, files: WorkerFiles) -> None:
        for each in measure(self._these):
            files.write(each)

    async def _tick(self) -> None:
        """Notice how late timers are, as everything else on this event loop then is."""
        while True:
            began = monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self._loop_lag.observe(max(0.0, monotonic() - began - TICK_SECONDS))
