"""The engine that `ENGINE` names: Django's for PostgreSQL, and its twin for use in greenlets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.exceptions import SynchronousOnlyOperation
from django.db import ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql import base as postgresql
from django.db.backends.postgresql import operations
from django.db.utils import DatabaseErrorWrapper, load_backend
from django.utils.connection import ConnectionProxy
from psycopg import sql

from .adapter import Adapter
from .greenlets import is_inside


class DatabaseOperations(operations.DatabaseOperations):
    """Django's own, with compilers that keep what they have compiled."""

    compiler_module = f"{__package__}.compiler"


class DatabaseWrapper(postgresql.DatabaseWrapper):
    """Django's own, for synchronous code; the async ORM works for databases of this engine."""

    ops_class = DatabaseOperations

    if TYPE_CHECKING:  # not in the stubs

        def _configure_connection(self, connection: Any) -> bool: ...

        def _configure_timezone(self, connection: Any) -> bool: ...

        def _close(self) -> None: ...

        def _set_autocommit(self, autocommit: bool) -> None: ...


@cache
def _is_ours(engine: str) -> bool:
    return issubclass(load_backend(engine).DatabaseWrapper, DatabaseWrapper)


def uses_greenlets(alias: str) -> bool:
    """Whether the async ORM works without threads for the database `alias`."""
    config = connections.settings.get(alias)
    return config is not None and _is_ours(config["ENGINE"])


HELPERS = ("client", "creation", "features", "introspection", "ops", "validation")


class NotesRollback(BaseDatabaseWrapper):
    """A wrapper that knows whether a rollback was asked for by `transaction.set_rollback(True)`."""

    rollback_is_meant = False

    def set_rollback(self, rollback: bool) -> None:
        """Note that a rollback at the end of the block is wanted."""
        super().set_rollback(rollback)
        self.rollback_is_meant = rollback

    def _rollback(self) -> None:
        super()._rollback()  # type: ignore[misc]  # not in the stubs
        self.rollback_is_meant = False  # it has been done

    def _savepoint_rollback(self, sid: str) -> None:
        super()._savepoint_rollback(sid)  # type: ignore[misc]
        self.rollback_is_meant = False


def note_rollbacks(wrapper: BaseDatabaseWrapper) -> None:
    """Make a wrapper of any engine one that `NotesRollback`."""
    if not isinstance(wrapper, NotesRollback):
        kind: Any = type(wrapper)
        wrapper.__class__ = _noting(kind)
        wrapper.rollback_is_meant = wrapper.needs_rollback  # type: ignore[attr-defined]


@cache
def _noting(kind: Any) -> Any:
    return type(kind.__name__, (NotesRollback, kind), {"__module__": kind.__module__})


class GreenletDatabaseWrapper(NotesRollback, DatabaseWrapper):
    """The same engine inside a greenlet: its connections come from the event loop's pool.

    One lives as long as one call or transaction. Its maker is `greenlet_executor`, never Django. It
    is of use only inside a greenlet: elsewhere its methods raise `SynchronousOnlyOperation`.
    """

    pool: Any = None  # set by the maker; Django's own code takes from it and gives back
    has_ended = False  # the call or transaction: nobody would give back what is borrowed now

    def __init__(self, settings: Any, alias: str, helpers: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings, alias)
        self.__dict__.update(helpers or {})
        self._server_cursors: list[psycopg.ServerCursor[Any]] = []

    def shared_helpers(self) -> dict[str, Any]:
        """What Django makes for each wrapper, to be used by many.

        They keep nothing but caches, and the wrapper. With the current one in its place, wrappers
        are in no cycles: the garbage collector has less to do, and no cache is filled anew.
        """
        helpers = {name: getattr(self, name) for name in HELPERS}
        for helper in helpers.values():
            helper.connection = ConnectionProxy(connections, self.alias)
        return helpers

    @property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        """Django's, made for each use: kept, it would be in a cycle with this wrapper."""
        return DatabaseErrorWrapper(self)

    def close_pool(self) -> None:
        """Leave the pool open: it belongs to the lifespan, not to one of its borrowers."""

    def ensure_timezone(self) -> bool:
        """Set the time zone of the connection in use; others are set when they are borrowed."""
        return self.connection is not None and self._configure_timezone(self.connection)

    def get_connection_params(self) -> dict[str, Any]:
        """Return nothing where the pool has opened the connections."""
        return {} if self.pool else super().get_connection_params()

    def _set_autocommit(self, autocommit: bool) -> None:
        if self.connection.autocommit != autocommit:
            super()._set_autocommit(autocommit)

    def ensure_connection(self) -> None:
        """Borrow a connection, unless this wrapper has one.

        Django's and pytest's test tools forbid databases by replacing the method that this one
        inherits; what theirs raises holds here too.
        """
        if self.connection is not None:
            return
        if self.has_ended:
            raise ProgrammingError(
                "This connection belongs to a call or transaction that has ended. Do not keep "
                f"connections[{self.alias!r}]: ask for it in each call."
            )
        inherited = BaseDatabaseWrapper.ensure_connection
        if not is_inside():
            inherited(self)  # which raises SynchronousOnlyOperation
        elif not hasattr(inherited, "__wrapped__"):
            with suppress(SynchronousOnlyOperation):  # from the method that was replaced
                inherited(self)
        if self.in_atomic_block and self.closed_in_transaction:
            raise ProgrammingError("Cannot open a new connection in an atomic block.")
        with self.wrap_database_errors:
            self.connect()

    def _configure_role(self, connection: Adapter) -> bool:
        """Set the role; Django would quote it by the connection of the wrapper, which has none."""
        role = self.settings_dict["OPTIONS"].get("assume_role")
        if role:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Literal(role)))
        return bool(role)

    def create_cursor(self, name: str | None = None) -> Any:
        """Make a cursor; remember those with a portal on the server."""
        cursor = _create_cursor(self, name)
        if name is not None:
            self._server_cursors = [c for c in self._server_cursors if not c.closed]
            self._server_cursors.append(cursor)
        return cursor

    def _close(self) -> None:
        """Give the connection back, without the cursors that a cancellation has left open."""
        left = [cursor for cursor in self._server_cursors if not cursor.closed]
        if any(cursor.withhold for cursor in left):
            self.connection.drop(lambda: None)  # nothing less than a query would close them
        try:
            for cursor in left:
                cursor.close()
        finally:
            super()._close()

    def init_connection_state(self) -> None:
        """Set what may have changed since the pool opened the connection."""
        self.__dict__["pg_version"] = self.connection.info.server_version
        super().init_connection_state()
        self._configure_timezone(self.connection)

    def validate_thread_sharing(self) -> None:
        """Accept every use: the connection itself awaits, which fails outside a greenlet."""


def _safe_inside(name: str) -> Callable[..., Any]:
    @wraps(getattr(DatabaseWrapper, name))
    def method(self: GreenletDatabaseWrapper, *args: Any, **kwargs: Any) -> Any:
        call = getattr(DatabaseWrapper, name)  # now, for tests that replace it
        if is_inside():
            call = getattr(call, "__wrapped__", call)
        return call(self, *args, **kwargs)

    return method


# What Django marks as async-unsafe, because there it would block the event loop.
ASYNC_UNSAFE = (
    "chunked_cursor clean_savepoints close commit connect cursor get_new_connection rollback "
    "savepoint savepoint_commit savepoint_rollback"
)
for _name in ASYNC_UNSAFE.split():
    setattr(GreenletDatabaseWrapper, _name, _safe_inside(_name))
_create_cursor = _safe_inside("create_cursor")
