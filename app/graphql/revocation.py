"""Close the connections of viewers who are no longer who they were when they connected."""

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from typing import Final, Self

from django.apps import apps
from django.conf import settings

from app.changes.feed import Feed, Watch
from app.database.calls import run
from app.graphql.connections import Connections
from app.graphql.link import EXPIRED, CloseError, Link
from app.graphql.viewer import Session, load_session

logger = logging.getLogger(__name__)

CHANGED: Final = CloseError(4403, "Forbidden: the viewer has changed")

REVIEW_SECONDS = 2.0
SESSIONS_AT_ONCE = 50
REST = 20
"""How many times as long as a review took is the pause after it."""
MOST_REST_SECONDS = 5.0


class Revocation:
    """Reviews the signed-in connections after changes of `VIEWER_MODELS`.

    An asynchronous context manager. Who has signed out, was deactivated, or has other rights
    than before is closed with 4403, and comes back as whom the session then identifies. An idle
    server asks nothing; a busy one as a rule at most a twentieth of the time.
    """

    def __init__(self, feed: Feed, connections: Connections) -> None:
        self._feed = feed
        self._connections = connections
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        models = [apps.get_model(name) for name in settings.VIEWER_MODELS]
        self._task = asyncio.create_task(self._run(self._feed.watch(*models)), name="revocation")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        async for _ in watch:
            # Several changes are one then, and who was just connecting is connected.
            await asyncio.sleep(REVIEW_SECONDS)
            started_at = loop.time()
            try:
                await self._review()
            except Exception as error:
                logger.warning("Viewers could not be reviewed, trying again: %s", error)
                watch.wake()
            await asyncio.sleep(min(MOST_REST_SECONDS, REST * (loop.time() - started_at)))

    async def _review(self) -> None:
        signed_in: dict[str, list[Link]] = defaultdict(list)
        for connection in self._connections:
            if key := connection.link.session.key:
                signed_in[key].append(connection.link)
        every = list(signed_in)
        for start in range(0, len(every), SESSIONS_AT_ONCE):
            some = every[start : start + SESSIONS_AT_ONCE]
            for key, session in zip(some, await run(_load, some), strict=True):
                for link in signed_in[key]:
                    if link.session.viewer == session.viewer:
                        link.session = session  # which may last longer now
                    else:
                        link.close(EXPIRED if link.has_expired else CHANGED)


def _load(keys: list[str]) -> list[Session]:
    return [load_session(key) for key in keys]
