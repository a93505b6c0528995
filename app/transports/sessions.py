"""Find out who a client is: load the session that its cookie names."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.http import parse_cookie

from ..database.calls import run
from ..database.fairness import CONSUMER, SYSTEM
from ..viewer import Session, anonymous_session, load_sessions

MAX_KEY_CHARACTERS = 1024
MAX_COOKIE_CHARACTERS = 16 * 1024
LOADS_AT_ONCE = 4
MAX_SESSIONS_AT_ONCE = 100


def session_key(cookies: str) -> str:
    """Return the session that a `Cookie` header names, or "" if no session engine made its key."""
    if len(cookies) > MAX_COOKIE_CHARACTERS:
        return ""
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    # Not every database takes other characters.
    return key if len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable() else ""


class Sessions:
    """Loads sessions from the database: when many are asked for at once, together."""

    def __init__(self) -> None:
        self._loading = 0
        self._waiting: list[tuple[str, asyncio.Future[Session]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, key: str) -> Session:
        """Return the viewer as they are now, and until when. Raise Django's database errors."""
        if not key:
            return anonymous_session()
        if self._loading >= LOADS_AT_ONCE:
            future: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, future))
            return await future
        with self._place():
            return (await load_all([key]))[key]

    async def close(self) -> None:
        """End the loads that others have left to this object."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._loading += 1
        try:
            yield
        finally:
            self._loading -= 1
            if self._waiting:
                batch = self._waiting[:MAX_SESSIONS_AT_ONCE]
                del self._waiting[:MAX_SESSIONS_AT_ONCE]
                task = asyncio.get_running_loop().create_task(self._load_together(batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _load_together(self, batch: list[tuple[str, asyncio.Future[Session]]]) -> None:
        with self._place():
            try:
                found = await load_all([key for key, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for key, future in batch:
                    if not future.done():
                        future.set_result(found[key])
            finally:
                for _, future in batch:
                    future.cancel()


async def load_all(keys: list[str]) -> dict[str, Session]:
    """Return the sessions of these keys, by connections of the server's own share."""
    token = CONSUMER.set(SYSTEM)
    try:
        return await run(load_sessions, list(dict.fromkeys(keys)))
    finally:
        CONSUMER.reset(token)
