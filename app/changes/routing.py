"""Send what sources read to a read replica, and all else to the database that the feed follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model

from ..database.scope import innermost


class Reading:
    """Where a source reads; it and all tasks that it has started."""

    __slots__ = ("avoids_replicas", "replica")

    def __init__(self, *, avoids_replicas: bool = False) -> None:
        self.replica: str | None = None
        """The alias of a replica that shows all the source was woken for; None: the primary."""
        self.avoids_replicas = avoids_replicas
        """Whether a replica has failed it, and none is to be read until it has a result."""


READING: Final[ContextVar[Reading | None]] = ContextVar("READING", default=None)
"""None outside of sources."""


def begin_reading() -> Reading:
    """Begin a run of a source, which reads from the primary until it is told otherwise."""
    last = READING.get()
    reading = Reading(avoids_replicas=last is not None and last.avoids_replicas)
    READING.set(reading)
    return reading


def replica_read() -> str | None:
    """The replica from which the running source reads, if it does."""
    reading = READING.get()
    return reading.replica if reading else None


@contextmanager
def reading_primary() -> Iterator[None]:
    """Within the block, `ReplicaRouter` names no replica."""
    token = READING.set(None)
    try:
        yield
    finally:
        READING.reset(token)


class ReplicaRouter:
    """Reads of a subscription's source go to one of `LIVE_REPLICAS`, everything else to `default`.

    For `DATABASE_ROUTERS`, after all others: of models that live elsewhere those have to tell.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return the replica of this round, if there is one, and no transaction under way."""
        replica = replica_read()
        if replica is not None and not _is_in_transaction():
            return replica
        return self.db_for_write(model, **hints)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:  # noqa: ARG002
        """Return where an instance that was read from a replica is written."""
        # Django's own answer would be the database that it was read from.
        state = getattr(hints.get("instance"), "_state", None)
        is_of_replica = state is not None and state.db in settings.LIVE_REPLICAS
        return DEFAULT_DB_ALIAS if is_of_replica else None

    def allow_relation(self, obj1: Model, obj2: Model, **_: Any) -> bool | None:
        """Let rows of one database refer to each other, wherever they were read."""
        same = {DEFAULT_DB_ALIAS, *settings.LIVE_REPLICAS}
        return True if {obj1._state.db, obj2._state.db} <= same else None

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:  # noqa: ARG002
        """Leave replicas to the replication."""
        return False if db in settings.LIVE_REPLICAS else None


def _is_in_transaction() -> bool:
    """Whether reads have to see what a block around them has written."""
    scope = innermost()
    while scope is not None:
        executor = scope.executor
        if scope.is_open and executor.serves(DEFAULT_DB_ALIAS) and executor.holds(DEFAULT_DB_ALIAS):
            return True
        scope = scope.parent
    return False
