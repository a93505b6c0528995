"""A pooled `AsyncConnection` and the synchronous adapter that Django's ORM sees of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from select import POLLIN, poll
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from .fairness import Consumer
from .greenlets import await_in_greenlet

T = TypeVar("T")

TRUSTED_SECONDS = 1.0


class Connection(psycopg.AsyncConnection[Any]):
    """psycopg's connection, which knows when it was last seen alive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.created_at = self.alive_at = monotonic()
        self.adapter: Adapter
        self.consumer: Consumer
        """Whom it is lent to."""
        self._poller = poll()
        self._poller.register(self.pgconn.socket, POLLIN)

    def is_idle(self) -> bool:
        """Whether no statement and no transaction is under way."""
        return self.pgconn.transaction_status == TransactionStatus.IDLE

    def is_trusted(self) -> bool:
        """Whether it was in use a moment ago, and the server has sent nothing since.

        It would, if it had ended the connection.
        """
        return monotonic() - self.alive_at < TRUSTED_SECONDS and not self._poller.poll(0)

    def hang_up(self) -> None:
        """End the connection without the server's help: what waits for it hears that at once."""
        hang_up(self)


def hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """End a connection without the server's help: what waits for it hears that at once."""
    with (
        suppress(OSError, psycopg.Error),  # It has ended already.
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)


class Adapter(psycopg.Connection[Any]):
    """The same connection with psycopg's synchronous API, for use inside a greenlet.

    All of psycopg's synchronous cursors wait through `wait`; here it awaits the `AsyncConnection`,
    which cancels the statement on the server when the task is cancelled.
    """

    def __init__(self, owner: Connection, cursor_factory: type[psycopg.Cursor[Any]]) -> None:
        super().__init__(owner.pgconn)
        self.owner = owner
        self.cursor_factory = cursor_factory
        self.use_lock = UseLock()
        self.lock = self.use_lock  # type: ignore[assignment]  # used only in `with`
        self.prepare_threshold = owner.prepare_threshold
        self._adapters = owner.adapters
        self._autocommit = owner.autocommit
        self._when_dropped: Callable[[], None] | None = None

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Await the owner until `gen` is done; the rest is what this psycopg's `wait` takes."""
        try:
            return await_in_greenlet(self.owner.wait(gen, *args, **kwargs))
        finally:
            if self._when_dropped is not None:
                self._when_dropped()
                raise psycopg.OperationalError("The transaction of this statement has ended.")

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Await the cancellation of the statement under way."""
        await_in_greenlet(self.owner.cancel_safe(timeout=timeout))

    def drop(self, then: Callable[[], None]) -> None:
        """Close the connection, at once or when the statement under way has ended, `then` go on."""

        def close() -> None:
            self._when_dropped = None
            self.owner.pgconn.finish()  # under a statement it would crash the process
            then()

        if self.use_lock.is_taken:
            self._when_dropped = close
        else:
            close()


class UseLock:
    """In place of psycopg's lock, which would stop the whole event loop: refuse a second user."""

    def __init__(self) -> None:
        self.is_taken = False

    def __enter__(self) -> None:
        if self.is_taken:
            raise psycopg.ProgrammingError(
                "Two tasks use one database connection at once. Give each its own call of run()."
            )
        self.is_taken = True

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_taken = False
