"""The queryset, manager and model base whose `a…` methods await instead of changing threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models, router
from django.db.transaction import TransactionManagementError

from .calls import ConnectionsFor, call
from .scope import ConnectionScope, Executor

M_co = TypeVar("M_co", bound=models.Model, covariant=True)

QUERYSET = (
    "aaggregate abulk_create abulk_update acontains acount acreate adelete aearliest aexists "
    "aexplain afirst aget aget_or_create ain_bulk alast alatest aupdate aupdate_or_create"
)
MODEL = "adelete arefresh_from_db asave"
RELATED_MANAGER = "aadd aclear acreate aget_or_create aremove aset aupdate_or_create"


def awaited(name: str, own: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The method `name`, which awaits its synchronous twin."""

    @wraps(own)
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await call(_alias(self, name, kwargs), getattr(self, name[1:]), *args, **kwargs)

    return method


WRITING = {
    "aadd", "abulk_create", "abulk_update", "aclear", "acreate", "adelete", "aget_or_create",
    "aremove", "aset", "aupdate", "aupdate_or_create",
}  # fmt: skip


def _alias(subject: Any, name: str, kwargs: dict[str, Any]) -> str:
    """The database that `subject`, a model instance, manager or queryset, will use."""
    if isinstance(subject, models.Model):
        choose = router.db_for_read if name == "arefresh_from_db" else router.db_for_write
        return kwargs.get("using") or choose(type(subject), instance=subject)
    if name not in WRITING:
        return subject.db  # type: ignore[no-any-return]
    hints = subject._hints
    if (instance := getattr(subject, "instance", None)) is not None:  # of a related manager
        hints = {"instance": instance}
    return subject._db or router.db_for_write(subject.model, **hints)


def await_in_related_managers(manager_class: Any) -> None:
    """Make the related managers await that Django derives from `manager_class`."""

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        super(manager_class, cls).__init_subclass__(**kwargs)
        _await_in(cls)

    manager_class.__init_subclass__ = classmethod(init_subclass)


def _await_in(related_manager: Any) -> None:
    for name in RELATED_MANAGER.split():
        own = related_manager.__dict__.get(name)
        if own is not None and own.__module__.startswith("django."):
            setattr(related_manager, name, awaited(name, own))


class RawQuerySet(models.query.RawQuerySet):  # type: ignore[type-arg]  # plain at run time
    """What `raw()` returns: `async for` awaits."""

    def using(self, alias: str | None) -> RawQuerySet:
        """Select the database to query."""
        raw = super().using(alias)
        raw.__class__ = RawQuerySet
        return raw

    async def __aiter__(self) -> AsyncIterator[Any]:
        for row in await call(self.db, list, self):
            yield row


class QuerySet(models.QuerySet[M_co]):
    """Django's queryset; what it awaits stays on the event loop's thread where the engine can."""

    if not TYPE_CHECKING:  # django-stubs must see Django's own

        @classmethod
        def as_manager(cls):
            """Return a manager with the methods of this queryset."""
            manager = super().as_manager()
            await_in_related_managers(type(manager))
            return manager

        as_manager.__func__.queryset_only = True

    async def __aiter__(self) -> AsyncIterator[M_co]:
        for row in await call(self.db, list, self):
            yield row

    async def aiterator(self, chunk_size: int = 2000) -> AsyncIterator[M_co]:
        """Iterate over the results, `chunk_size` rows in memory at a time.

        A connection, or the outer transaction, is in use until the iterator is closed: leave it
        early only inside `contextlib.aclosing`.
        """
        if chunk_size <= 0:
            raise ValueError("Chunk size must be strictly positive.")
        rows = self.iterator(chunk_size)
        async with ConnectionsFor(self.db) as place:
            try:
                while chunk := await place.call(list[M_co], islice(rows, chunk_size)):
                    for row in chunk:
                        yield row
            finally:
                await _close(rows, place)

    def raw(
        self,
        raw_query: Any,
        params: Any = (),
        translations: dict[str, str] | None = None,
        using: str | None = None,
    ) -> RawQuerySet:
        """Return the rows of an SQL query as instances of the model."""
        raw = super().raw(raw_query, params, translations, using)
        raw.__class__ = RawQuerySet
        return raw  # type: ignore[return-value]


async def _close(rows: Any, place: ConnectionScope | Executor) -> None:
    try:
        await place.call(rows.close)
    except TransactionManagementError:
        # The iterator was forgotten, and its block is left before Python closes it.
        if not isinstance(place, ConnectionScope) or place.is_open:
            raise
        await place.executor.call(rows.close)


for _name in QUERYSET.split():
    setattr(QuerySet, _name, awaited(_name, getattr(models.QuerySet, _name)))

Manager = models.Manager.from_queryset(QuerySet)
await_in_related_managers(Manager)


class Model(models.Model):
    """Django's model, whose `asave`, `adelete` and `arefresh_from_db` await like the queryset."""

    objects = Manager()

    class Meta:
        abstract = True


for _name in MODEL.split():
    setattr(Model, _name, awaited(_name, getattr(models.Model, _name)))


async def aprefetch_related_objects(
    model_instances: Sequence[models.Model], *related_lookups: str | models.Prefetch[Any]
) -> None:
    """Django's `prefetch_related_objects`, awaited."""
    if model_instances:
        first = model_instances[0]
        alias = first._state.db or router.db_for_read(type(first))
        await call(alias, models.prefetch_related_objects, model_instances, *related_lookups)


def install() -> None:
    """Let all models await as ours do: Django's, and anybody's that keep Django's managers.

    Call it before there are tasks, in the `ready()` of an app. It gives the methods of this module
    to Django's own `QuerySet`, `RawQuerySet`, `Model` and related managers, where databases of
    other engines, too, are asked as `run` asks them.
    """
    for theirs, own, names in (
        (models.QuerySet, QuerySet, f"{QUERYSET} __aiter__ aiterator"),
        (models.Model, Model, MODEL),
        (models.query.RawQuerySet, RawQuerySet, "__aiter__"),
    ):
        for name in names.split():
            setattr(theirs, name, getattr(own, name))
    for module in (models, models.query):
        vars(module)["aprefetch_related_objects"] = aprefetch_related_objects
    await_in_related_managers(models.manager.BaseManager)
    for manager in _subclasses(models.manager.BaseManager):
        _await_in(manager)


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    each: type[Any]
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)
