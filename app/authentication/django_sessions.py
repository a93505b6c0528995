"""The viewers of Django's sessions: those that are asked for at once are loaded together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Self

from django.conf import settings

from ..database.calls import run
from ..viewer import CHALLENGE, Credentials, InvalidCredentialError, Session, anonymous_session
from .sessions import load_sessions

MAX_KEY_CHARACTERS = 1024
LOADS_AT_ONCE = 4
MAX_SESSIONS_AT_ONCE = 100


class DjangoSessions:
    """Says who asks by Django's session, whose key comes as a bearer token or as a cookie.

    An asynchronous context manager: on leaving it, what is being loaded is given up.
    """

    def __init__(self) -> None:
        self._loading = 0
        self._waiting: list[tuple[str, asyncio.Future[Session | None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, credentials: Credentials) -> Session:
        """Return the session. Raise InvalidCredentialError unless it goes on; database errors."""
        if token := credentials.token:
            headers = CHALLENGE
        elif token := credentials.cookies.get(settings.SESSION_COOKIE_NAME, ""):
            headers = {**CHALLENGE, "Set-Cookie": _without_cookie()}
        else:
            return anonymous_session()
        session = await self.load(token) if may_be_key(token) else None
        if session is None:
            raise InvalidCredentialError("The session has ended. Sign in again.", headers)
        return session

    async def load(self, key: str) -> Session | None:
        """Return the viewer as they are now, and until when; None if the key is nobody's."""
        if self._loading >= LOADS_AT_ONCE:
            future: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, future))
            return await future
        with self._place():
            return (await load_all([key]))[key]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
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

    async def _load_together(self, batch: list[tuple[str, asyncio.Future[Session | None]]]) -> None:
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


async def load_all(keys: list[str]) -> dict[str, Session | None]:
    """Return the sessions of these keys. Raise Django's database errors."""
    return await run(load_sessions, list(dict.fromkeys(keys)))


def may_be_key(text: str) -> bool:
    """Whether a session engine may have made the key; not every database takes all characters."""
    return len(text) <= MAX_KEY_CHARACTERS and text.isascii() and text.isprintable()


def _without_cookie() -> str:
    """The header by which a browser drops the cookie, as Django would have it."""
    cookie = SimpleCookie({settings.SESSION_COOKIE_NAME: ""})
    morsel = cookie[settings.SESSION_COOKIE_NAME]
    morsel["max-age"] = "0"
    morsel["path"] = settings.SESSION_COOKIE_PATH
    morsel["domain"] = settings.SESSION_COOKIE_DOMAIN or ""
    morsel["samesite"] = settings.SESSION_COOKIE_SAMESITE or ""
    return cookie.output(header="").strip()
