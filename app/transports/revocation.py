"""Close the connections of viewers who are no longer who they were when they connected."""

import asyncio
import logging
from collections import defaultdict
from typing import Final, Self

from django.apps import apps
from django.conf import settings

from ..background import BackgroundTask
from ..changes.feed import Feed, Watch
from ..database.calls import run
from ..viewer import Session, load_session
from .clients import Clients
from .connection import EXPIRED, Close, Connection

logger = logging.getLogger(__name__)

CHANGED: Final = Close(4403, "Forbidden: the viewer has changed")

REVIEW_SECONDS = 2.0
MAX_SESSIONS_AT_ONCE = 50
PAUSE_FACTOR = 20
"""A review is followed by a pause of this many times the time that it took."""
MAX_PAUSE_SECONDS = 5.0


class Revocation:
    """Reviews the signed-in clients after changes of `VIEWER_MODELS`.

    An asynchronous context manager. The connection of a viewer who has signed out, was deactivated,
    or has other rights than before is closed with 4403; the client may come back with the rights of
    then. While nothing changes, no session is loaded; otherwise reviews take a twentieth of the
    time, unless one takes longer than `MAX_PAUSE_SECONDS` / `PAUSE_FACTOR`.
    """

    def __init__(self, feed: Feed, clients: Clients) -> None:
        self._feed = feed
        self._clients = clients

    async def __aenter__(self) -> Self:
        models = [apps.get_model(name) for name in settings.VIEWER_MODELS]
        self._task = BackgroundTask(self._run(self._feed.watch(*models)), name="revocation")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._task.stop()

    async def _run(self, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        async for _ in watch:
            # Meanwhile further changes come, and clients that were connecting are connected.
            await asyncio.sleep(REVIEW_SECONDS)
            started_at = loop.time()
            try:
                await self._review()
            except Exception as error:
                logger.warning("Viewers could not be reviewed, trying again: %s", error)
                watch.wake()
            await asyncio.sleep(min(MAX_PAUSE_SECONDS, PAUSE_FACTOR * (loop.time() - started_at)))

    async def _review(self) -> None:
        signed_in: dict[str, list[Connection]] = defaultdict(list)
        for client in self._clients:
            if key := client.connection.session.key:
                signed_in[key].append(client.connection)
        keys = list(signed_in)
        for start in range(0, len(keys), MAX_SESSIONS_AT_ONCE):
            some = keys[start : start + MAX_SESSIONS_AT_ONCE]
            for key, session in zip(some, await run(_load, some), strict=True):
                for connection in signed_in[key]:
                    _compare(connection, session)


def _compare(connection: Connection, session: Session) -> None:
    if connection.session.viewer == session.viewer:
        connection.session = session  # which may last longer now
    else:
        connection.close(EXPIRED if connection.has_expired else CHANGED)


def _load(keys: list[str]) -> list[Session]:
    return [load_session(key) for key in keys]
